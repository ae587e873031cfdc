"""The pages of docs/ as a site, and the commands that they show."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import lsml
from tests.test_project import ROOT, command_of

_PAGES = sorted((*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"))
_COMMAND = re.compile(r"^ {4}(?:\S+=\S* )*(?:\.venv(?:-jax)?/bin/)?lsml (.*?)(?: +#.*)?$", re.MULTILINE)

_IN_TEXT = re.compile(r"`lsml\s(?!--)([^`]+)`")


class _Loaded(HTMLParser):
    """Keeps what a page has a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # What a link leads to is loaded when it is followed; the canonical address never.
        if tag != "a":
            self.addresses += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Built without a warning: every page in the navigation, no dead link; and the reference has every function."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300
    )
    assert (built.returncode, built.stderr) == (0, "")
    reference = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    functions = [name for name in lsml.__all__ if name != "__version__"]
    assert [name for name in functions if f'id="lsml.{name}"' not in reference] == []
    for page in tmp_path.rglob("*.html"):
        found = _Loaded()
        found.feed(page.read_text(encoding="utf-8"))
        assert [address for address in found.addresses if re.match("(https?:)?//", address)] == [], page


def test_mlflow_run_goes_into_the_experiment_of_lsml() -> None:
    """Every such command of the docs names it, as MLflow's own default is another."""
    commands = [
        command
        for page in _PAGES
        for command in re.findall(r"mlflow run \. -e [^\n`]*", page.read_text(encoding="utf-8"))
    ]
    assert commands
    assert [command for command in commands if "--experiment-name lsml" not in command] == []


def _shown() -> Iterator[tuple[str, str]]:
    for page in _PAGES:
        if page.name != "messages.md":
            text = page.read_text(encoding="utf-8")
            for command in _COMMAND.findall(text) + _IN_TEXT.findall(text):
                # What stands in brackets may be given, three dots go on with more of the same.
                yield page.name, re.sub(r"[\[\]…]|\.\.\.", " ", command)


@pytest.mark.parametrize(("page", "line"), sorted(set(_shown())))
def test_a_command_in_the_docs_is_one_that_lsml_has(page: str, line: str) -> None:
    """Its options are those of the command, and none lacks a value."""
    command, words = command_of(shlex.split(line))
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    given = [word for word in words if word.startswith("--")]
    assert [name for name in given if name not in options] == []
    for name in given:
        after = words[words.index(name) + 1 :]
        assert options[name].is_flag or (after and not after[0].startswith("--")), name
