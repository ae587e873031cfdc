"""Commands in surroundings that are not lsml's doing: what a notebook, a scheduler or a shell leaves around them."""

import sys
from pathlib import Path

import pytest

from tests.processes import environment, lsml


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset; nobody may change it."""
    from lsml.data.synthetic import synthesize

    root = tmp_path_factory.mktemp("patches") / "data"
    synthesize(root, train=4, validation=2, test=2, seed=1)
    return root


def test_pictures_are_drawn_whatever_backend_matplotlib_is_to_have(tmp_path: Path, patches: Path) -> None:
    """A notebook hands its own backend to commands, which are installed without it."""
    env = environment(MPLBACKEND="module://matplotlib_inline.backend_inline")
    done = lsml(tmp_path, "data", "show", str(patches), "--out", "drawn.png", python=sys.executable, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
