"""GDAL's own `gdaldem slope`, which is a function of the library that rasterio comes with."""

import ctypes
from pathlib import Path

import numpy as np
import rasterio

from tests.scenes.made import read

_HERE = Path(rasterio.__file__).parent


def gdaldem_slope(dem: Path, out: Path) -> np.ndarray:
    """Slope in degrees by Horn, float32 `(H, W)`, -9999 where a neighbour is lacking; writes it to a file too."""
    (path,) = _HERE.with_name("rasterio.libs").glob("libgdal*")
    gdal = ctypes.CDLL(str(path))
    for function in (gdal.GDALOpen, gdal.GDALDEMProcessingOptionsNew, gdal.GDALDEMProcessing):
        function.restype = ctypes.c_void_p
    gdal.GDALAllRegister()
    source = ctypes.c_void_p(gdal.GDALOpen(str(dem).encode(), 0))
    options = ctypes.c_void_p(gdal.GDALDEMProcessingOptionsNew(None, None))
    made = ctypes.c_void_p(gdal.GDALDEMProcessing(str(out).encode(), source, b"slope", None, options, None))
    assert made
    gdal.GDALDEMProcessingOptionsFree(options)
    for dataset in (made, source):
        gdal.GDALClose(dataset)
    return read(out)
