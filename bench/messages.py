"""docs/messages.md: every help page and every error message of lsml, read off its commands and its source.

python bench/messages.py > docs/messages.md
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

import lsml
from lsml import errors
from lsml.cli.main import app

_OPENING = """\
# Help and error messages

Every help page and every error message of lsml, printed by `python bench/messages.py` from its commands and its source.

An error is one line on standard error, `lsml: error: <what>: <why>; <what to do>`; `--debug` adds the traceback. `{…}`
stands for what is known only when it happens: names, numbers, or the words of a library. Usage errors end with
`see lsml COMMAND --help`, exit code 2. An interruption is no error: it leaves with 128 + the signal's number and
`lsml: interrupted by {…}: stopped cleanly; the same command resumes`.
"""

_KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.LsmlError) and kind is not errors.LsmlError
}
_UNKNOWN = "{…}"


def page() -> str:
    """The whole page in Markdown."""
    parts = [_OPENING, "## Help\n"]
    parts += [f"```\n{text}\n```\n" for text in _help_pages("lsml", typer.main.get_command(app))]
    for code in sorted({kind.exit_code for kind in _KINDS.values()}):
        names = [name for name, kind in _KINDS.items() if kind.exit_code == code]
        parts.append(f"## Exit code {code}: {', '.join(names)}\n")
        parts.append("\n".join(f"- {text}" for text in sorted(_messages(names))) + "\n")
    return "\n".join(parts)


def _help_pages(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path, terminal_width=100, max_content_width=100)
    # What `--set` takes is in docs/configuration.md.
    help_of = getattr(command, "full_help", command.get_help)
    text, fields, _ = help_of(context).partition("Fields for --set")
    yield text.rstrip() + ("\n\nFields for --set, with their defaults: see configuration.md" if fields else "")
    for name, inner in getattr(command, "commands", {}).items():
        yield from _help_pages(f"{path} {name}", inner)


def _messages(kinds: list[str]) -> set[str]:
    """Every message of errors of these kinds, without those that only hand on another's words."""
    messages = set()
    for path in Path(lsml.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = _assigned(tree.body)
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            known = constants | _assigned(ast.walk(function))
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds:
                    what, why, fix = (_text(argument, known) for argument in call.args)
                    messages.add(" ".join(f"{what}: {why}; {fix}".split()))
    return {text for text in messages if re.sub(r"\{…\}|\W", "", text)}


def _assigned(nodes: Any) -> dict[str, ast.expr]:
    """The values of names that are assigned once."""
    values: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, []).append(node.value)
    return {name: assigned[0] for name, assigned in values.items() if len(assigned) == 1}


def _text(node: ast.expr, known: Mapping[str, ast.expr]) -> str:
    """The text of an expression, with a placeholder for each part that is not written in the source."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, known) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, known) + _text(right, known)
        case ast.IfExp(body=body, orelse=other):
            texts = [_text(branch, known) for branch in (body, other)]
            return _UNKNOWN if _UNKNOWN in texts else f"{{{'|'.join(texts)}}}"
        case ast.FormattedValue(value=ast.Name() as name) | (ast.Name() as name) if name.id in known:
            return _text(known[name.id], {other: value for other, value in known.items() if other != name.id})
    return _UNKNOWN


if __name__ == "__main__":
    print(page(), end="")
