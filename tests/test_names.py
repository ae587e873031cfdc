"""Every stored name is spelled in `lsml.names` alone: what two modules spell, only one of them gets renamed."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsml import names

PACKAGE = Path(names.__file__).parent
# Modules that are named by text.
MODULES = {"lsml.report", "lsml.scenes", "mlflow.store.db.utils", "mlflow.tracking.fluent", "mlflow.keras"}
STATES, ROLES = ({value for name, value in vars(kind).items() if name.isupper()} for kind in (names.State, names.Role))
STORED = re.compile(
    r"(lsml|mlflow)\.[A-Za-z]|(best_|earned_)?val_[a-z0-9]*|best_epoch$|test_f1$|test_pixel_baseline_f1$"
)
ARTIFACTS = {value for name, value in vars(names.Artifact).items() if name.isupper()} - {"images", "model"}


def violations(tree: ast.Module) -> Iterator[str]:
    """Line and text of each stored name that a module spells itself; docstrings may."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and text not in MODULES:
                if (STORED.match(text) and " " not in text) or text in ARTIFACTS:
                    yield f"{node.lineno}: {text}"
            case ast.Compare() | ast.keyword():
                yield from _values(node)


def _values(node: ast.Compare | ast.keyword) -> Iterator[str]:
    """States and roles that are compared with, or given as, what is called a state or a role."""
    words = set(re.findall("[a-z]+", ast.unparse(node).lower()))
    spelled = {child.value for child in ast.walk(node) if isinstance(child, ast.Constant)}
    for kind, values in (("state", STATES), ("role", ROLES)):
        if kind in words:
            yield from (f"{node.lineno}: {kind} {text}" for text in sorted(spelled & values, key=str))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("tags['lsml.study']", True),
        ("tags[f'lsml.data.{name}']", True),
        ("tags.get('mlflow.parentRunId')", True),
        ("metrics['best_val_f1']", True),
        ("{f'val_{name}': 1}", True),
        ("log(run, 'report.html')", True),
        ("run.tags[Tag.STATE] == 'failed'", True),
        ("attempt.role != 'trial'", True),
        ("Stage(role='refit')", True),
        ("split == 'train'", False),
        ("def f():\n    'Reads `best_val_f1`.'", False),
    ],
)
def test_the_rule_finds_what_it_should(code: str, found: bool) -> None:
    """Each kind of name where it may not stand, and ordinary words where they may."""
    assert bool(list(violations(ast.parse(code)))) is found


def test_stored_names_are_spelled_once() -> None:
    """No module but `lsml.names` spells one."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path != Path(names.__file__)]
    found = [
        f"{path.relative_to(PACKAGE)}:{text}" for path in paths for text in violations(ast.parse(path.read_text()))
    ]
    assert not found


def test_no_two_names_of_a_kind_are_one_string() -> None:
    """A string that two names of a kind have would be renamed in one of them."""
    for kind in (names.Tag, names.Metric, names.Artifact, names.Role, names.State, names.Alias, names.Attribute):
        values = [value for name, value in vars(kind).items() if name.isupper()]
        assert len(values) == len(set(values)), kind


def test_the_version_is_that_of_the_package() -> None:
    """`lsml.names.VERSION`, which runs and models carry, is the version in pyproject.toml."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == names.VERSION
