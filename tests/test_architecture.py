"""Holds the layout of docs/architecture.md: imports point down, engines keep one room, the command line is light."""

import ast
import graphlib
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up; a module may import its own room and every room of the layers before it, but none beside it.
# What each room is for stands in the table of docs/architecture.md, which `rooms_table` prints.
LAYERS: tuple[dict[str, str], ...] = (
    {"names": "every name that is stored: tags, metrics, artifacts, aliases, roles"},
    {"errors": "what a user can cause, each with its exit code; signals, and how the process leaves by them"},
    {"workspace": "the state folder, locks, files that are replaced atomically"},
    {"config": "fields with bounds and meaning, search spaces, experiment files"},
    {"data": "patches: reading, checks, splits, packs, loading, augmentation, download, synthesis"},
    {"scoring": "numbers only: metrics, intervals, calibration, comparison, promotion and ensemble rules"},
    {"losses": "losses on logits, each registered under the name of its weight"},
    {"models": "Keras graphs: inputs, encoders (a registry), decoder, trees, ensembles, model files"},
    {"audit": "what a dataset's splits do to a score"},
    {"plots": "figures: numpy in, PNG bytes out"},
    {"training": "one configuration into one network; cross-validation; baselines"},
    {"evaluation": "a model's scores on a split, its predictions for a folder"},
    {"scenes": "GeoTIFF scenes: tiles, bands, terrain, maps, polygons, assessment, patches"},
    {"report": "every table, and the page of a study"},
    {
        "study": "Optuna, KerasTuner and dask: queue, search, coordinator, workers, stages",
        "tracking": "MLflow: runs, models, champions, openings of the test split, its UI",
    },
    {"workflows": "one function a command: wiring of the rooms below"},
    {"cli": "commands: parse, one call, print"},
    {"lsml": "the Python API, loaded when it is used"},
    {"__main__": "`python -m lsml`"},
)
RANKS = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}

# Packages that only one room, or one module of it, may import.
HOMES = {
    "mlflow": "tracking",
    "optuna": "study",
    "keras_tuner": "study",
    "dask": "study",
    "distributed": "study",
    "h5py": "data",
    "tensorflow": "models.kernels",
    "torch": "models.kernels",
}

SLOW = {
    *("keras", "tensorflow", "jax", "torch", "mlflow", "optuna", "dask", "distributed", "h5py", "cv2"),
    *("albumentations", "sklearn", "matplotlib"),
}


def modules(package: Path) -> dict[str, Path]:
    """`{"lsml.data.pack": .../lsml/data/pack.py, ...}`: all modules; a folder's name is its `__init__`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, at its top or inside functions, as text too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                yield from ((node.lineno, alias.name) for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                base = ".".join(package.split(".")[: len(package.split(".")) + 1 - level]) if level else ""
                source = ".".join(part for part in (base, module) if part)
                yield from ((node.lineno, f"{source}.{alias.name}") for alias in aliases)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(text)), *_],
            ):
                yield node.lineno, text


def module_of(dotted: str, known: dict[str, Path]) -> str:
    """The module that a dotted name stands in: `lsml.errors.DataError` is in `lsml.errors`."""
    while dotted not in known and "." in dotted:
        dotted = dotted.rpartition(".")[0]
    return dotted


def room_of(module: str) -> str:
    """`lsml.data.pack` is in `data`; the package itself is its own room."""
    return f"{module}.".split(".")[1] or module


def complaints(package: Path) -> list[str]:
    """What in a package breaks the layout, one line each."""
    known = modules(package)
    found = [f"{name}: has no place in LAYERS" for name in known if room_of(name) not in RANKS]
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        graph[name] = set()
        for line, dotted in imported_names(name, path):
            top = dotted.partition(".")[0]
            if top in HOMES and HOMES[top] not in (room_of(name), name.removeprefix("lsml.")):
                found.append(f"{name}:{line}: imports {top}, which belongs {HOMES[top]}")
            if top != package.name or (target := module_of(dotted, known)) == name:
                continue
            graph[name].add(target)
            above = RANKS.get(room_of(target), 0) - RANKS.get(room_of(name), 0)
            if above > 0 or (above == 0 and room_of(target) != room_of(name)):
                found.append(f"{name}:{line}: imports {target}, which lies {'above' if above else 'beside'} it")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"cycle: {' <- '.join(error.args[1])}")
    return found


def rooms_table() -> str:
    """The table of rooms in docs/architecture.md, from the top down."""
    rows = [f"| `{room}` | {what} |" for layer in reversed(LAYERS) for room, what in layer.items()]
    return "\n".join(["| room | what for |", "|---|---|", *rows])


def test_the_page_of_the_architecture_has_the_rooms_of_this_test() -> None:
    """docs/architecture.md shows the layers as they are held here; the page stays short."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert rooms_table() in page
    assert len(page.split()) <= 1500


def test_imports_of_lsml_point_downward_without_a_cycle() -> None:
    """No module imports one above it, none imports itself by a detour, and each engine is in its one room."""
    assert complaints(ROOT / "lsml") == []


def plant(folder: Path, files: dict[str, str]) -> Path:
    """A package `lsml` of the given files below `folder`."""
    for name, text in files.items():
        path = folder / "lsml" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "lsml"


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (
            {"data/pack.py": "from lsml.training import fit", "training.py": ""},
            "lsml.data.pack:1: imports lsml.training, which lies above",
        ),
        (
            {"data/pack.py": "from lsml import training", "training.py": ""},
            "lsml.data.pack:1: imports lsml.training, which lies above",
        ),
        (
            {"data/pack.py": "import lsml.training as f", "training.py": ""},
            "lsml.data.pack:1: imports lsml.training, which lies above",
        ),
        (
            {"data/pack.py": "from ..training import fit", "training.py": ""},
            "lsml.data.pack:1: imports lsml.training, which lies above",
        ),
        (
            {"data/__init__.py": "from .. import training", "training.py": ""},
            "lsml.data:1: imports lsml.training, which lies above",
        ),
        (
            {"training.py": "def f():\n    from lsml.workflows import x", "workflows/x.py": ""},
            "lsml.training:2: imports lsml.workflows.x, which lies",
        ),
        (
            {"training.py": "import_module('lsml.cli')", "cli/__init__.py": ""},
            "lsml.training:1: imports lsml.cli, which lies above",
        ),
        (
            {"__init__.py": "tune = 1", "training.py": "from lsml import tune"},
            "lsml.training:1: imports lsml, which lies above",
        ),
        (
            {"training.py": "def f():\n    import mlflow.keras"},
            "lsml.training:2: imports mlflow, which belongs tracking",
        ),
        (
            {"workflows/tune.py": "from optuna.trial import Trial"},
            "lsml.workflows.tune:1: imports optuna, which belongs study",
        ),
        ({"study/a.py": "import tensorflow as tf"}, "lsml.study.a:1: imports tensorflow, which belongs models.kernels"),
        ({"helpers.py": ""}, "lsml.helpers: has no place in LAYERS"),
        (
            {"study/a.py": "from lsml.tracking import b", "tracking/b.py": ""},
            "lsml.study.a:1: imports lsml.tracking.b, which lies beside",
        ),
    ],
)
def test_the_checker_sees_each_kind_of_breach(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    """A planted breach is named with its module and line, however the import is written."""
    found = complaints(plant(tmp_path, files))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_the_checker_sees_cycles_within_a_room(tmp_path: Path) -> None:
    """a -> b -> c -> a is a cycle, also where one of its imports stands in a function."""
    package = plant(
        tmp_path,
        {
            "study/a.py": "from lsml.study.b import f",
            "study/b.py": "from lsml.study import c",
            "study/c.py": "def f():\n    from lsml.study.a import g",
        },
    )
    (found,) = complaints(package)
    assert found.startswith("cycle: ")
    assert {"lsml.study.a", "lsml.study.b", "lsml.study.c"} <= set(found.removeprefix("cycle: ").split(" <- "))


def test_the_checker_is_content_with_a_sound_package(tmp_path: Path) -> None:
    """Imports downward, within a room, of a name and of a home engine raise no complaint."""
    package = plant(
        tmp_path,
        {
            "names.py": "VERSION = '1'",
            "errors.py": "",
            "tracking/__init__.py": "",
            "tracking/store.py": "import mlflow\nfrom lsml.names import VERSION\nfrom lsml.errors import DataError",
            "tracking/runs.py": "from lsml.tracking import store\nfrom lsml.tracking.store import x\nimport numpy",
        },
    )
    assert complaints(package) == []


def loaded_by(code: str) -> set[str]:
    """The top-level modules in memory of a fresh interpreter after `code`, which may exit."""
    report = "import atexit, sys; atexit.register(lambda: sys.stderr.write('\\nLOADED ' + ' '.join(sys.modules)));"
    done = subprocess.run([sys.executable, "-c", report + code], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return {module.partition(".")[0] for module in done.stderr.rpartition("\nLOADED ")[2].split()}


def test_the_command_line_imports_nothing_slow() -> None:
    """With the command line imported, a fresh interpreter holds none of the slow packages, and no pydantic."""
    loaded = loaded_by("import lsml.cli.main")
    assert "lsml" in loaded
    assert loaded & {*SLOW, "pydantic"} == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tune", "--help"], ["evaluate", "--no-such-option"], ["no-such-command"]]
)
def test_help_and_wrong_arguments_load_nothing_slow(arguments: list[str]) -> None:
    """Help pages and refusals are printed before anything slow is imported; `bench/costs.py` says what that takes."""
    loaded = loaded_by(f"sys.argv[1:] = {arguments!r}; from lsml.cli.main import run; run()")
    assert "lsml" in loaded
    assert loaded & SLOW == set()


@pytest.mark.parametrize("module", ["lsml.training.device", "lsml.study.trial", "lsml.evaluation.evaluate"])
def test_what_sets_a_process_up_loads_no_keras(module: str) -> None:
    """The backend is prepared, and a study coordinated, before Keras is in memory, or without it."""
    assert loaded_by(f"import {module}") & {"keras", "tensorflow", "jax", "torch", "matplotlib", "sklearn"} == set()


def test_the_house_keeps_within_its_limits() -> None:
    """Modules, names, depth of imports and lengths are at most what `bench/house.py` lists; lines are only told."""
    house = runpy.run_path(str(ROOT / "bench" / "house.py"))
    counted, limits = house["measure"](ROOT / "lsml"), house["LIMITS"]
    over = {name: value for name, value in counted._asdict().items() if value > getattr(limits, name)}
    assert over.keys() <= {"lines"}


def statement_lines(text: str) -> int:
    """Lines of a module without docstrings, comments, blank lines and imports."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return sum(bool(line) and line[0] != "#" and number not in left_out for number, line in lines)


def test_statements_are_counted_without_docstrings_and_imports() -> None:
    """By hand: `def`, and the three lines of `return` with its call, are four."""
    text = '"""A module."""\nimport os\n\ndef f():\n    """Docs."""\n    # Why.\n    return max(\n        1, 2\n    )\n'
    assert statement_lines(text) == 4


@pytest.mark.parametrize("path", sorted((ROOT / "lsml" / "workflows").glob("*.py")), ids=lambda path: path.stem)
def test_a_workflow_only_joins_what_others_do(path: Path) -> None:
    """At most 150 lines of statements; of MLflow's client it calls nothing, and it builds no table."""
    text = path.read_text(encoding="utf-8")
    assert statement_lines(text) <= 150
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="client") | ast.Attribute(attr="_client"))):
                pytest.fail(f"line {node.lineno} calls MLflow's client, which tracking/ does")
            case ast.Call(func=ast.Name(id="Table")):
                pytest.fail(f"line {node.lineno} builds a table, which report/summary.py does")


@pytest.mark.parametrize("path", sorted((ROOT / "lsml" / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_shows_the_tables_of_the_report(path: Path) -> None:
    """Those of `report/summary.py`; the command line builds none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Table"]


SENSORS = {
    "lsml/data/sensor.py",
    "lsml/data/synthetic/__init__.py",
    "lsml/data/synthetic/landscape.py",
    "lsml/scenes/synthetic.py",
}
"""What knows the bands and the size of a sensor's patches: the sensors themselves, and what draws those of one."""

NO_SENSOR = {
    ("lsml/config/schema.py", "le=128,"): "the most filters",
    ("lsml/data/augment/warp.py", "columns, rows = columns + moved[..., 0], rows + moved[..., 1]"): "column and row",
    ("lsml/data/transfer.py", "_PIECE = 1 << 14"): "bytes",
    ("lsml/errors/__init__.py", "return 128 + self.number"): "exit codes of signals",
    (
        "lsml/plots/audit.py",
        'axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=14)',
    ): "points of a font",
    (
        "lsml/plots/patches.py",
        "self._paint(np.full((10, 14, 3), colour, np.uint8), left, top)",
    ): "pixels of a legend",
}
"""Lines that have such a number of another meaning, and which."""


_COUNTS = (12, 13)
"""Of bands too, of Sentinel-2 and of all but the last; such numbers mean much else, so they count in a shape alone."""


def sensor_numbers(text: str) -> set[str]:
    """The lines of a module that have 14 bands, 128 pixels, or a band by its number beside the first."""
    lines, found = text.splitlines(), set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=14 | 128):
                found.add(lines[node.lineno - 1].strip())
            case ast.Tuple(elts=[_, _, *_, ast.Constant(value=int(count))]) if count in _COUNTS:
                found.add(lines[node.lineno - 1].strip())
            case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(count))]) if count in _COUNTS:
                found.add(lines[node.lineno - 1].strip())
            case ast.Subscript(
                slice=ast.Tuple(
                    elts=[ast.Constant(value=types.EllipsisType()), *_, last] | [ast.Slice(), ast.Slice(), *_, last]
                )
            ) if _names_a_band(last):
                found.add(lines[node.lineno - 1].strip())
    return found


def _names_a_band(index: ast.expr) -> bool:
    """Whether a place, a start or one of a list is a band beside the first, or an end more than three colours."""
    match index:
        case ast.Slice(lower=lower, upper=upper):
            return (lower is not None and _names_a_band(lower)) or _integer(upper) > 3
        case ast.List(elts=places) | ast.Tuple(elts=places):
            return any(map(_names_a_band, places))
    return _integer(index) > 0


def _integer(node: ast.expr | None) -> int:
    """A literal integer; 0 for anything else."""
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bands = 14", True),
        ("keras.Input((None, None, 14))", True),
        ("np.zeros((128, 128))", True),
        ("red = image[..., 3]", True),
        ("terrain = image[..., 12:]", True),
        ("image[..., 7] *= 2", True),
        ("image[:, :, 13]", True),
        ("optical = image[..., :12]", True),
        ("colour = image[..., [3, 2, 1]]", True),
        ("shape = (None, None, 13)", True),
        ("for band in range(12): pass", True),
        ("def f(*, bands=14): pass", True),
        ("def f(size=(128, 128)): pass", True),
        ("first = image[..., 0]", False),
        ("image[..., sensor.place(RED)]", False),
        ("image[..., -1], image[..., None], image[..., :3]", False),
        ("'14 bands of 128 pixels'", False),
        ("table[:, 2], table[3:, 2:], image[:, :, 0]", False),
        ("x = 12.8", False),
        ("def f(*, pictures=12): pass", False),
    ],
)
def test_numbers_of_a_sensor_are_told(line: str, told: bool) -> None:
    """Counts, sizes and places of bands; not the only or the last channel, nor the colours of a picture."""
    assert sensor_numbers(line) == ({line} if told else set())


def test_no_module_knows_a_sensor_by_its_numbers() -> None:
    """Only sensors do: others ask for roles, and take sizes as they come. No exception is kept that is not needed."""
    paths = (path for path in (ROOT / "lsml").rglob("*.py") if path.relative_to(ROOT).as_posix() not in SENSORS)
    found = {
        (path.relative_to(ROOT).as_posix(), line) for path in paths for line in sensor_numbers(path.read_text("utf-8"))
    }
    assert found == NO_SENSOR.keys()


LANDSLIDE4SENSE = {
    "lsml.data.sensor": "what it is",
    "lsml.data.description": "HDF5 files that nothing describes are taken for its",
    "lsml.data.synthetic": "makes patches like its",
    "lsml.data.domains": "the regions of such patches differ in the gain of each of its optical bands",
    "lsml.scenes.reading": "bands of scenes that are called like its have their roles",
    "lsml.scenes.synthetic": "makes a scene of its bands",
    "lsml.tracking.models": "models that were stored without a sensor are of its",
    "lsml.data.quality.look": "its values are integers over known constants",
    "lsml.data.quality.rules": "its values have a known scale, which others are not held to",
    "lsml.models.trees": "the trees' features of its patches stay as they were",
    "lsml.workflows.data": "what looks like its patches needs no description",
    "lsml.workflows.sources": "the sensor of synthetic patches that are not made yet",
}
"""The modules that know this sensor, by its name or by asking whether another is it, and why."""


def test_no_other_module_knows_the_sensor_of_landslide4sense() -> None:
    """Neither imported nor asked for: the others work with any sensor. No exception is kept that is not needed."""
    known = re.compile(r"\bLANDSLIDE4SENSE\b|\bsensor\.published\b")
    found = {name for name, path in modules(ROOT / "lsml").items() if known.search(path.read_text(encoding="utf-8"))}
    assert found == LANDSLIDE4SENSE.keys()
