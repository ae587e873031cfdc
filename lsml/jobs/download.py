"""Downloading the published dataset."""

from pathlib import Path

from lsml.data import download as data
from lsml.data.download import Downloaded, Source
from lsml.jobs.sources import Progress


def download(folder: Path, *, source: Source, url: str | None, progress: Progress) -> Downloaded:
    """Brings Landslide4Sense from `source` into `folder`, or goes on with that, and verifies it.

    Raises:
        ConfigError: `url` is no http(s) address.
        DataError: no network, no space, or files that are refused.
    """
    return data.download(folder, source=source, address=url, progress=progress)
