"""Holds the set-up files together: pyproject.toml, the locks, conda.yaml, MLproject and the command line."""

import hashlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-gpu.lock", "requirements-jax.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


def pins(lock: str) -> dict[str, Requirement]:
    """The lock's requirements by name."""
    requirements = [Requirement(pin) for pin, _ in locked(lock)]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def locked(lock: str) -> list[tuple[str, list[str]]]:
    """Each pin of a lock, and the hashes of the files that may be installed for it."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace(" \\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [(pin, hashes) for pin, *hashes in (re.split(" {4}--hash=", line) for line in lines)]


def version_of(pin: Requirement) -> str:
    """The version of `name==version`."""
    (specifier,) = pin.specifier
    return specifier.version


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_nothing_else(lock: str) -> None:
    """All of it is `name==version`, a marker allowed, each name once, with hashes: no address, option or path."""
    text, found = (ROOT / lock).read_text(encoding="utf-8"), locked(lock)
    pinned = r"[a-z0-9]+(-[a-z0-9]+)*==[0-9a-z.]+( ; [^#]+)?"
    assert [pin for pin, _ in found if not re.fullmatch(pinned, pin)] == []
    assert [pin for pin, hashes in found if not hashes] == []
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for _, hashes in found for digest in hashes)
    assert len(pins(lock)) == len(found) > 100
    assert "://" not in text
    assert "@" not in text


@pytest.mark.parametrize(
    ("lock", "extras", "missing"),
    [
        ("requirements.lock", ["dev"], []),
        ("requirements-gpu.lock", ["dev", "gpu"], []),
        ("requirements-jax.lock", ["dev", "jax"], ["tensorflow"]),
    ],
)
def test_a_lock_satisfies_the_project(lock: str, extras: list[str], missing: list[str]) -> None:
    """Each dependency, and what builds the package, is pinned at a version that pyproject.toml accepts."""
    wanted = list(PROJECT["project"]["dependencies"]) + list(PROJECT["build-system"]["requires"])
    for extra in extras:
        wanted += PROJECT["project"]["optional-dependencies"][extra]
    pinned = pins(lock)
    unmet = [
        name
        for text in wanted
        if (name := canonicalize_name(Requirement(text).name)) not in pinned
        or not Requirement(text).specifier.contains(version_of(pinned[name]), prereleases=True)
    ]
    assert unmet == missing
    assert "uv" in pinned


def test_the_locks_differ_in_the_cuda_libraries_alone() -> None:
    """Both locks pin the same versions; the GPU lock adds NVIDIA's libraries, and only those."""
    cpu, gpu = pins("requirements.lock"), pins("requirements-gpu.lock")
    assert {name: str(pin) for name, pin in gpu.items() if name in cpu} == {name: str(pin) for name, pin in cpu.items()}
    added = gpu.keys() - cpu.keys()
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= added
    assert [name for name in added if not name.startswith("nvidia-")] == []


def test_the_jax_lock_has_jax_for_tensorflow() -> None:
    """It pins what the CPU's lock pins, less TensorFlow and what TensorFlow alone needs, and JAX besides."""
    cpu, jax = pins("requirements.lock"), pins("requirements-jax.lock")
    assert {name: str(pin) for name, pin in jax.items() if name in cpu} == {
        name: str(pin) for name, pin in cpu.items() if name in jax
    }
    assert jax.keys() - cpu.keys() == {"jax", "jaxlib"}
    assert {"tensorflow", "astunparse", "google-pasta", "libclang"} <= cpu.keys() - jax.keys()
    assert [name for name in jax if name.startswith(("tensorflow", "tensorboard", "torch", "nvidia-cu"))] == []


def test_conda_environment_is_the_gpu_lock() -> None:
    """conda.yaml installs the GPU lock and not lsml, on a Python that the project takes."""
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))
    python, pip, packages = conda["dependencies"]
    assert (conda["name"], conda["channels"]) == ("lsml", ["conda-forge"])
    assert (pip, packages) == ("pip", {"pip": ["-r requirements-gpu.lock"]})
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(python.removeprefix("python=") + ".0")


def test_conda_environment_carries_the_hash_of_the_lock() -> None:
    """A changed lock changes conda.yaml, by whose content conda environments are named."""
    digest = hashlib.sha256((ROOT / "requirements-gpu.lock").read_bytes()).hexdigest()
    text = (ROOT / "conda.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^# SHA-256 of requirements-gpu\.lock: (.*)$", text, re.MULTILINE) == [digest], "run `make lock`"


def test_the_package_carries_every_file_that_is_no_code() -> None:
    """What stands below lsml/ beside the modules is named as package data, or an installed lsml would miss it."""
    named = PROJECT["tool"]["setuptools"]["package-data"]["lsml"]
    found = [path for path in (ROOT / "lsml").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert sorted(str(path.relative_to(ROOT / "lsml")) for path in found) == sorted(named)


def test_main_is_tune() -> None:
    """`mlflow run .` without an entry point tunes."""
    assert set(ENTRY_POINTS) == {"main", "tune", "train", "evaluate", "data"}
    assert ENTRY_POINTS["main"] == ENTRY_POINTS["tune"]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_no_parameter_is_a_path(name: str) -> None:
    """MLflow resolves `path` parameters, also the empty one that means "not given"."""
    assert {parameter["type"] for parameter in ENTRY_POINTS[name]["parameters"].values()} == {"string"}


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The click command that leading words such as `data synth` name, and the words after them."""
    import typer

    from lsml.cli.main import app

    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "get_command"):
        command, words = command.get_command(typer.Context(command), words[0]), words[1:]
        assert command is not None
    return command, words


def options_of(entry_point: str) -> Iterator[tuple[str, Any]]:
    """Each parameter of an entry point with the click option or argument that its command hands it to."""
    python, dash_m, lsml, *words = shlex.split(ENTRY_POINTS[entry_point]["command"])
    assert (python, dash_m, lsml) == ("python", "-m", "lsml")
    command, words = command_of(words)
    arguments = iter([param for param in command.params if param.param_type_name == "argument"])
    for flag, word in zip(["", *words], words, strict=False):
        if not (placeholder := re.fullmatch(r"\{(\w+)\}", word)):
            continue
        if flag.startswith("--"):
            (option,) = [param for param in command.params if flag in param.opts]
        else:
            option = next(arguments)
        yield placeholder[1], option


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_mlproject_parameters_are_options_with_the_same_default(name: str) -> None:
    """Every parameter reaches one option, of its own name and with the same default (empty: none)."""
    parameters = ENTRY_POINTS[name]["parameters"]
    options = dict(options_of(name))
    assert options.keys() == parameters.keys()
    assert {key: option.name for key, option in options.items()} == {key: key for key in parameters}
    assert {key: None if option.required else str(option.default or "") for key, option in options.items()} == {
        key: parameter.get("default") for key, parameter in parameters.items()
    }


def test_the_configuration_reference_is_what_the_command_prints() -> None:
    """docs/configuration.md is the output of `lsml config reference`, to the last character."""
    from lsml.cli.config import _reference_page

    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == _reference_page(), "run `lsml config reference > docs/configuration.md`"


def test_the_page_of_messages_is_what_its_generator_prints() -> None:
    """docs/messages.md has every help page and every error message, to the last character."""
    page = runpy.run_path(str(ROOT / "bench" / "messages.py"))["page"]
    written = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    assert written == page(), "run `python bench/messages.py > docs/messages.md`"


@pytest.mark.parametrize("target", [".venv", ".venv-jax"])
def test_make_refuses_a_python_that_does_not_fit(target: str, tmp_path: Path) -> None:
    """With an old Python, make says in one line which ones fit and how to name one, and builds nothing."""
    for name in ("Makefile", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    # Started by `make test`, this process carries that make's own settings.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = ["make", target, f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said, made = done.stderr.splitlines()
    assert said.startswith(f"lsml needs Python 3.11, 3.12 or 3.13, and {old} is Python 3.9.2; name another:")
    assert made.startswith("make: ***")
    assert done.returncode == 2
    assert not (tmp_path / target).exists()


LANDSLIDE4SENSE = {
    "config/test_recipe.py": "the public notebooks' six inputs are of its bands",
    "data/test_checks.py": "the scale and datasets of its published files are known",
    "data/test_quality.py": "values in other units and orders are of its bands",
    "data/test_synthetic.py": "synthetic patches have its published format",
    "end_to_end/test_evaluate.py": "a script without lsml reads its HDF5 files",
    "end_to_end/test_export.py": "predictions of its HDF5 files are HDF5 files",
    "end_to_end/test_predict.py": "predictions of its HDF5 files are HDF5 files",
    "end_to_end/test_serving.py": "predictions of its HDF5 files are HDF5 files",
    "models/test_inputs.py": "indices and inputs are worked out by hand from its roles",
    "models/test_pretrained.py": "pretrained filters are carried to its blue, green and red",
    "models/test_trees.py": "trees are worked out by hand on its green band and its integers",
    "plots/test_patches.py": "colours are worked out by hand from its visible bands",
}
"""Files with tests of that mark, and why."""


def test_few_tests_hold_of_one_sensor_alone() -> None:
    """Those that are listed here, each with one reason; `make test-sensors` runs the others with another sensor."""
    mark = re.compile(r'^(?:@|\w+ = )pytest\.mark\.landslide4sense\("(.*)"\)$', re.MULTILINE)
    found = {
        (path.relative_to(ROOT / "tests").as_posix(), reason)
        for path in (ROOT / "tests").rglob("*.py")
        for reason in mark.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set(LANDSLIDE4SENSE.items())
