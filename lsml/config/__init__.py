"""Configuration: every field declared once, search spaces, experiment files."""
