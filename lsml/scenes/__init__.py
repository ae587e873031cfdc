"""From a GeoTIFF scene to maps and polygons: tiles on a fixed grid, bands and terrain, rasters written row by row."""
