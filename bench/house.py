"""Measures how lsml is built: modules, public names, depth of imports, lengths of functions and files.

    python bench/house.py [REVISION...]

One row a revision of git (`HEAD~5`, a tag), then one of the working tree, in a Markdown table beside the limits that
`tests/test_architecture.py` holds. Needs nothing but Python and git.
"""

import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class House(NamedTuple):
    """What is counted of a package.

    Attributes:
        modules: files of Python, `__init__.py` among them.
        loose: those that stand in no room.
        in_one_folder: most modules in one folder.
        public_names: functions and classes at the top of a module without a leading underscore.
        import_depth: modules in the longest chain of imports, those inside functions among them.
        function_median, function_p90: lines of a function, from its `def` to its end.
        longest_file: lines.
        lines: of all files.
    """

    modules: int
    loose: int
    in_one_folder: int
    public_names: int
    import_depth: int
    function_median: float
    function_p90: float
    longest_file: int
    lines: int


LIMITS = House(185, 5, 22, 709, 22, 8, 24, 400, 22_367)
"""At most. The lines are those of lsml before its modules moved into rooms (6ca4805)."""


def measure(package: Path) -> House:
    """Counts the package in a folder."""
    sources = {_name(path, package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {name: ast.parse(text) for name, text in sources.items()}
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    lengths = [text.count("\n") for text in sources.values()]
    folders = Counter(path.parent for path in package.rglob("*.py"))
    return House(
        modules=len(sources),
        loose=folders[package],
        in_one_folder=max(folders.values()),
        public_names=sum(1 for tree in trees.values() for _ in _public(tree)),
        import_depth=_depth({name: set(_imports(tree, trees, name)) for name, tree in trees.items()}),
        function_median=statistics.median(functions),
        function_p90=statistics.quantiles(functions, n=10)[-1],
        longest_file=max(lengths),
        lines=sum(lengths),
    )


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _public(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def _imports(tree: ast.Module, known: Mapping[str, ast.Module], importer: str) -> Iterator[str]:
    """Modules of the package that a module imports, wherever the import stands."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for dotted in names:
            module = dotted
            while module not in known and "." in module:
                module = module.rpartition(".")[0]
            if module in known and module != importer:
                yield module


def _depth(graph: Mapping[str, set[str]]) -> int:
    @cache
    def below(module: str) -> int:
        return 1 + max((below(imported) for imported in graph[module]), default=0)

    return max(below(module) for module in graph)


def at_revision(revision: str) -> House:
    """Counts the package as it was at a revision of git."""
    archive = subprocess.run(["git", "archive", revision, "lsml"], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
        return measure(Path(folder) / "lsml")


def main(revisions: list[str]) -> None:
    """Prints the table."""
    rows = {revision: at_revision(revision) for revision in revisions}
    rows |= {"working tree": measure(ROOT / "lsml"), "at most": LIMITS}
    lines = [["", *(name.replace("_", " ") for name in House._fields)], ["---"] * (len(House._fields) + 1)]
    lines += [
        [name, *(f"{value:,.3g}" if value < 100 else f"{value:,}" for value in house)] for name, house in rows.items()
    ]
    sys.stdout.writelines(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
