"""Figures: numpy in, PNG bytes or arrays out, no files, no global state."""

import io

from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes whatever the version of Matplotlib is called."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
