"""`lsml init`: an experiment file for patches that were looked at, which loads and says what was seen."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lsml.config.draft import SeenPatches, draft_experiment
from lsml.config.experiment import Experiment, load_experiment
from lsml.errors import ConfigError
from lsml.workflows.data import init
from tests.patches import make_patches
from tests.processes import lsml

SEEN = SeenPatches(
    path="data/my slides",
    train=200,
    validation=40,
    one_folder=False,
    held_out="the dataset's own split",
    side=128,
    sensor="five bands",
    bands=["blue", "red"],
    landslide=0.02,
    empty=0.5,
    idle=frozenset(),
)


@pytest.mark.parametrize("side", [16, 32, 96, 512])
@pytest.mark.parametrize("landslide", [0.01, 0.4])
@pytest.mark.parametrize("one_folder", [False, True])
@pytest.mark.parametrize(("train", "validation"), [(2, 1), (12, 2), (40, 10), (3000, 240), (1, 80)])
def test_every_draft_is_an_experiment(
    side: int, landslide: float, one_folder: bool, train: int, validation: int
) -> None:
    """Its base lies in its space, its folds have patches, and no level of its networks is below one pixel."""
    seen = SEEN._replace(side=side, landslide=landslide, one_folder=one_folder, train=train, validation=validation)
    experiment = Experiment.from_yaml(draft_experiment("mine", seen, "mine.yaml"), "draft")
    assert experiment.data.path == "data/my slides"
    # 50 patches are few, as 3 are; of a single one there are no folds.
    assert (experiment.data.folds is not None) == (1 < train < 50)
    assert (experiment.data.folds or 2) <= train or train == 1
    assert experiment.data.hold_out_test == (one_folder and (train, validation) == (40, 10))
    deepest = experiment.space.dimensions["model.depth"].high if side > 16 else experiment.base.model.depth
    assert side >> int(deepest or 0) >= 8
    # Large squares are seen at a quarter at least, 3 levels deep: 4 x 2**3 is 32, the most that any network may have.
    downscaled = experiment.space.dimensions.get("input.downscale")
    assert (downscaled.choices if downscaled else None) == ((1, 2, 4) if side == 512 else None)
    assert deepest == 3 or side != 512
    assert ("training.positive_fraction" in experiment.space.dimensions) == (train in (1, 3000) and landslide < 0.05)


def test_what_the_bands_cannot_change_is_not_searched() -> None:
    """Without near infrared no index has an effect."""
    text = draft_experiment("mine", SEEN._replace(idle={"input.indices"}), "mine.yaml")
    assert "input.indices" not in Experiment.from_yaml(text, "draft").space.dimensions


def test_it_says_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four pictures have landslides, a quarter of each: 12.5 % of all pixels. It is called as the folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("my slides")
    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        mask[:32, :32] = 255 * (number < 2)
        image = np.full((64, 64, 3), 40 * number + 40, np.uint8)
        Image.fromarray(image).save(folder / "train" / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "train" / "masks" / f"{number}.png")
    path = init(folder, None)
    text = path.read_text()
    assert path == Path("my-slides.yaml")
    assert "# What     4 patches of 64 pixels, 3 bands" in text
    assert "12.50% are landslide; 50% of the masks have none" in text
    assert yaml.safe_load(text)["data"]["path"] == "my slides"
    experiment = load_experiment(path)
    assert "input.indices" not in experiment.space.dimensions
    # 64 pixels halved three times are 8.
    assert experiment.base.model.depth == 3
    with pytest.raises(ConfigError, match=r"my-slides\.yaml: already exists; choose another file with --out FILE"):
        init(folder, None)
    assert path.read_text() == text


@pytest.mark.full
def test_a_study_of_it_runs(tmp_path: Path) -> None:
    """The command that is printed, cut short; 60 patches are enough for a validation split, and so for one training."""
    make_patches(tmp_path / "mine", train=48, validation=12, test=2, seed=5)
    done = lsml(tmp_path, "init", "mine")
    assert done.stdout.splitlines() == ["wrote mine.yaml", "next: lsml tune mine.yaml"]
    short = ("training.epochs=1", "model.depth=1", "model.filters=4")
    options = [word for value in short for word in ("--set", value)]
    done = lsml(tmp_path, "tune", "mine.yaml", "--trials", "1", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("best run: ")
