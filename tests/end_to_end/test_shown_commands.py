"""Blocks of commands in the documentation, run in order, page by page, where what a page takes for granted was made."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import rasterio

from lsml.names import Artifact
from lsml.scoring.ensemble_selection import StoredProbabilities
from tests import warm
from tests.end_to_end.conftest import attempts, client, copy_study
from tests.end_to_end.test_ensemble import kept_by_hand, noted, trials, validation
from tests.end_to_end.test_few_patches import EXPERIMENT as IN_FOLDS
from tests.processes import PATIENCE, ROOT, environment
from tests.scenes.test_sentinel import metadata

NOT_RUN = {
    "make ": "builds environments from the package index, or runs the tests",
    ".venv/bin/python -m pytest": "runs the tests",
    "mlflow run": "tests/end_to_end/test_project_run.py runs MLflow projects",
    "mlflow models serve": "serves until it is ended; tests/end_to_end/test_serving.py",
    "curl ": "asks that server; tests/end_to_end/test_serving.py",
    "lsml ui": "serves until it is ended; tests/end_to_end/test_ui.py",
    "lsml data download": "needs a network; tests/data/test_download.py has a server of its own",
    "lsml leaderboard": "takes what was scored on the real dataset alone; tests/workflows/test_compare.py",
    "KERAS_BACKEND=jax": "needs the environment with JAX; tests/end_to_end/test_backends.py",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "needs a cluster; tests/end_to_end/test_cluster.py starts one",
    "dask worker": "needs a cluster",
    "LSML_PACKS=": "needs a cluster",
    "LSML_DASK_PEM=": "needs Slurm; tests/end_to_end/test_slurm.py has stand-ins for it",
    "docker ": "needs docker; tests/test_deploy.py",
    "kubectl ": "needs Kubernetes; tests/test_deploy.py",
    "deploy/secrets.sh": "makes files in the source tree or at home; tests/test_deploy.py",
    "pip install": "needs a network",
    "(umask": "makes a file at home; tests/tracking/test_models.py signs",
    "export LSML_SIGNING_KEY_FILE": "belongs to the line before",
    "python bench/": "takes minutes to hours; make bench-smoke runs each at its smallest",
    "lsml tune experiments/demo.yaml --seed 1 --keep-probabilities": "a measurement, whose result the page has",
    "lsml tune experiments/demo.yaml --study real": "a measurement on real patches",
    "lsml ensemble real": "belongs to the line before",
    'ENCODER = Encoder("efficientnet_unet"': "quoted from lsml/models/encoders/efficientnet.py",
}
"""How what is not run begins, and why. Its options are looked at by tests/test_docs.py."""

# What else stands in blocks: files of a folder, lines of a table, an option of the site, settings.
_NO_COMMAND = re.compile(
    r"DIR/|patch,split,region|images/|options:|DASK_DISTRIBUTED__(COMM|SCHEDULER__HTTP|WORKER__HTTP)__\w+="
)
_GENERATED = ("messages.md", "configuration.md")
_PAGES = [
    path
    for path in (*sorted(ROOT.glob("docs/*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING")))
    if path.name not in _GENERATED
] + [ROOT / "SECURITY.md", ROOT / "tests" / "README.md"]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```python\n(?P<code>[^`]*)^```|^ {4}(?P<line>\S[^\n]*)", re.MULTILINE)

TINY = """
name: demo
description: A study that ends in seconds.
data: {path: DIR}
base:
  model: {filters: 4, depth: 1, dropout: 0.1}
  training: {epochs: 4, batch_size: 2, patience: 4, learning_rate: 5e-3}
space:
  model.dropout: {low: 0.0, high: 0.3}
  loss.jaccard: {low: 0.0, high: 1.0}
study:
  trials: 3
  seed: 7
  pruner: {name: none}
  keep_probabilities: true
"""

_ALWAYS = {"N": "1", "NAME": "demo", "STUDY": "demo", "BEST_RUN": "demo@candidate", "ENSEMBLE_RUN": "demo@ensemble"}
_SHORTER = {
    "lsml tune --demo": ("--trials", "2", "--set", "training.epochs=2", "--set", "training.patience=2"),
    "lsml data synth valley --scene --height 1024 --width 1024": ("--height", "256", "--width", "256"),
}
"""What is added to a command that would take minutes; of an option that is given twice the second counts."""


class Project(NamedTuple):
    """A folder with `DIR`, `experiments/` and a study that has ended, its best run and another complete one."""

    folder: Path
    best: str
    other: str

    def run(self, line: str) -> None:
        """A command as it is shown: what stands in brackets may be given, and is."""
        program, *words = shlex.split(re.sub(r"[\[\]…]|\.\.\.", " ", line))
        assert program in ("lsml", ".venv/bin/lsml"), line
        runs = iter((self.best, self.other))
        named = [re.sub(r"^\w+(?=@|$)", lambda name: _ALWAYS.get(name[0], name[0]), word) for word in words]
        given = [next(runs) if word in ("RUN", "RUN_ID") else word for word in named]
        self._python("tests.end_to_end.short_recipe", *given, *_SHORTER.get(line, ()))

    def run_code(self, code: str) -> None:
        """A block of Python."""
        (self.folder / "shown.py").write_text(code, encoding="utf-8")
        self._python("tests.end_to_end.notebook_cells", "shown.py")

    def _python(self, module: str, *words: str) -> None:
        done = warm.run_module(module, *words, folder=self.folder, env=environment(), timeout=2 * PATIENCE)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"


def shown(page: Path) -> Iterator[tuple[str, bool]]:
    """Each line of commands and each block of Python of a page, in its order, and whether it is Python."""
    text = page.read_text(encoding="utf-8")
    text = _FENCE.sub(lambda fence: fence[0] if fence[1] == "python" else "", text)
    for block in _BLOCK.finditer(text):
        if block["code"]:
            yield block["code"], True
        elif not _NO_COMMAND.match(block["line"]):
            yield re.sub(r"\s+#.*", "", block["line"]).partition("            ")[0].strip(), False


def _why_not(block: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if block.startswith(start)), None)


def _run_on(page: Path) -> list[tuple[str, bool]]:
    return list(dict.fromkeys(block for block in shown(page) if _why_not(block[0]) is None))


@pytest.fixture(scope="module")
def original(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The study that the pages speak of, small."""
    folder = tmp_path_factory.mktemp("original") / "project"
    shutil.copytree(dataset, folder / "DIR")
    (folder / "experiments").mkdir()
    for name, text in (("demo", TINY), ("landslide4sense", TINY), ("few_patches", IN_FOLDS)):
        renamed = re.sub("^name: .*$", f"name: {name}", text, flags=re.MULTILINE)
        (folder / "experiments" / f"{name}.yaml").write_text(renamed)
    Project(folder, "", "").run("lsml tune experiments/demo.yaml")
    ranked = sorted(attempts(folder, "demo"), key=lambda attempt: -float(attempt["val_f1"]))
    return Project(folder, *(str(attempt["run_id"]) for attempt in ranked[:2]))


@pytest.fixture
def project(original: Project, tmp_path: Path) -> Project:
    """A copy of it."""
    copy_study(original.folder, tmp_path / "project")
    return original._replace(folder=tmp_path / "project")


def _promoted(project: Project) -> None:
    project.run("lsml promote demo")


def _another_champion(project: Project) -> None:
    project.run(f"lsml promote {project.other}")


def _a_mean_that_is_better(project: Project) -> None:
    """What the trials have kept is made by hand such that a mean is ahead of each, and no baseline of that mean."""
    ids, _, masks = validation(project.folder / "DIR")
    path = project.folder / Artifact.PROBABILITIES
    for run, said in zip(trials(project.folder), kept_by_hand(masks), strict=True):
        path.write_bytes(StoredProbabilities.pack(ids, run.data.tags["lsml.data.validation"], said))
        client(project.folder).log_artifact(run.info.run_id, str(path))
    noted(project.folder, "demo", baselines=[], network=None)


def _a_map(project: Project) -> None:
    """What maps.md ends with, smaller."""
    _promoted(project)
    project.run("lsml data synth valley --scene --height 320 --width 320")
    project.run("lsml predict valley/scene.tif --model demo@champion --dem valley/dem.tif --out maps --uncertainty")


def _nothing(project: Project) -> None:
    """An empty folder."""
    shutil.rmtree(project.folder)
    project.folder.mkdir()


BEFORE_A_PAGE: Mapping[str, Callable[[Project], None]] = {
    "champion.md": _another_champion,
    "ensembles.md": _a_mean_that_is_better,
    "first-study.md": _nothing,
    "maps.md": _promoted,
    "region.md": _a_map,
}


def _product(project: Project) -> None:
    """A product of level 1C with the bands of the valley, and its DEM."""
    folder, valley = project.folder, project.folder / "valley"
    images = folder / "S2A_MSIL1C_20230215T050011.SAFE" / "GRANULE" / "L1C_T45RVM_A039953_20230215T050625" / "IMG_DATA"
    images.mkdir(parents=True)
    offsets = "".join(f'<RADIO_ADD_OFFSET band_id="{place}">0</RADIO_ADD_OFFSET>' for place in range(13))
    written = metadata("1C", "05.09", f"<Radiometric_Offset_List>{offsets}</Radiometric_Offset_List>")
    (folder / "S2A_MSIL1C_20230215T050011.SAFE" / "MTD_MSIL1C.xml").write_text(written)
    with rasterio.open(valley / "scene.tif") as scene:
        profile = scene.profile | {"count": 1}
        for number, described in enumerate(scene.descriptions[:12], start=1):
            name = re.sub(r"^B(\d)$", r"B0\1", described.split()[0])
            # Landslide4Sense has no B8A, which a product has.
            for band in (name, "B8A") if name == "B08" else (name,):
                with rasterio.open(images / f"T45RVM_20230215T050011_{band}.tif", "w", **profile) as image:
                    image.write(scene.read(number), 1)
    shutil.copy(valley / "dem.tif", folder / "dem.tif")


def _labelled(project: Project) -> None:
    """Each point has the label that the drawn landslides give it."""
    points = project.folder / "points.geojson"
    with rasterio.open(project.folder / "valley" / "mask.tif") as mask:
        truth = mask.read(1)
    collection = json.loads(points.read_text())
    for feature in collection["features"]:
        own = feature["properties"]
        own["label"] = int(truth[own["row"], own["column"]])
    points.write_text(json.dumps(collection))


def _drawn(project: Project) -> None:
    """The valley as a scene in which somebody has mapped landslides: those that the model has found."""
    shutil.copy(project.folder / "valley" / "scene.tif", project.folder / "scene.tif")
    shutil.copy(project.folder / "maps" / "landslides.gpkg", project.folder / "drawn.gpkg")


BEFORE_A_LINE: Mapping[str, Callable[[Project], None]] = {
    "lsml scene assemble": _product,
    "lsml map assess maps/mask.tif --labelled": _labelled,
    "lsml data tile scene.tif": _drawn,
}
"""What people do between two commands, by how the second begins."""


@pytest.mark.full
@pytest.mark.parametrize("page", [page for page in _PAGES if _run_on(page)], ids=lambda page: page.name)
def test_what_a_page_shows_runs(page: Path, project: Project) -> None:
    """Every command and every block of Python, one after the other, ends without an error."""
    BEFORE_A_PAGE.get(page.name, lambda _: None)(project)
    for block, is_code in _run_on(page):
        for start, prepare in BEFORE_A_LINE.items():
            if block.startswith(start):
                prepare(project)
        (project.run_code if is_code else project.run)(block)


def test_what_is_not_run_is_shown_somewhere() -> None:
    """No reason outlives its command."""
    blocks = [block for page in _PAGES for block, _ in shown(page)]
    assert [start for start in NOT_RUN if not any(block.startswith(start) for block in blocks)] == []


def test_all_else_is_a_command_of_lsml() -> None:
    """What another program does stands among what is not run, with the reason."""
    lines = [block for page in _PAGES for block, is_code in _run_on(page) if not is_code]
    assert [line for line in lines if not re.match(r"(\.venv/bin/)?lsml ", line)] == []
