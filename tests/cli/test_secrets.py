"""Passwords and what nobody has foreseen: neither leaves as it is, and both leave as one line."""

import stat
from pathlib import Path

import pytest

from lsml.cli import main as command_line
from lsml.errors import ConfigError, redact
from tests.processes import environment, lsml


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://me:hunter2@host:5432/d failed", "postgresql://me:***@host:5432/d failed"),
        ("postgresql+psycopg2://me:p@ss:w/rd@host/d", "postgresql+psycopg2://me:***@host/d"),
        ("http://:hunter2@host", "http://:***@host"),
        ("'mysql://u:a@h/d'", "'mysql://u:***@h/d'"),
        ("u:hunter2@h/d", "u:***@h/d"),
        ("postgresql://h/d?user=u&password=hunter2&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("mssql://?odbc_connect=Server=h;PWD=hunter2;x", "mssql://?odbc_connect=Server=h;PWD=***;x"),
        ("host=h password=hunter2 dbname=d", "host=h password=*** dbname=d"),
        ("https://h/?access_token=abc", "https://h/?access_token=***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'Authorization': 'Basic YWJj'}", "{'Authorization': '***'}"),
        ("no password: a is a letter", "no password: a is a letter"),
        ("sqlite:////tmp/a:b.db", "sqlite:////tmp/a:b.db"),
        ("models:/demo@champion", "models:/demo@champion"),
        ("http://127.0.0.1:5000/#/a?b=c", "http://127.0.0.1:5000/#/a?b=c"),
        ("password authentication failed for user me", "password authentication failed for user me"),
    ],
)
def test_passwords_are_hidden_by_where_they_stand(text: str, left: str) -> None:
    """Of addresses, queries and headers; nothing else of a text changes, however short the password is."""
    assert redact(text) == left


def test_what_a_server_echoes_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of the environment as a word of its own; not as a part of one, nor one that is any word."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter%212@host")
    monkeypatch.setenv("PGPASSWORD", "a")
    assert redact("wrong: hunter!2, hunter%212; a hunter!22") == "wrong: ***, ***; a hunter!22"
    assert str(ConfigError("a", "hunter!2", "b")) == "a: ***; b"


@pytest.mark.parametrize(
    ("variable", "url", "says"),
    [
        ("LSML_STORAGE", "postgresql+psycopg2://u:hunter2@h/d", "pip install psycopg2-binary"),
        ("LSML_STORAGE", "mysql://u:hunter2@h/d", "pip install mysqlclient"),
        ("LSML_STORAGE", "postgresql://u:hunter2@h:port/d", "study database postgresql://u:***@h:port/d: "),
        ("LSML_STORAGE", "u:hunter2@h/d", "study database u:***@h/d: "),
        ("LSML_STORAGE", "nonsense://h/d?password=hunter2", "study database nonsense://h/d?password=***: "),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    tmp_path: Path, variable: str, url: str, says: str
) -> None:
    """Exit code 4, also in what --debug shows."""
    done = lsml(tmp_path, "--debug", "study", "list", env=environment(**{variable: url}))
    assert done.returncode == 4, done.stderr
    assert says in done.stderr.splitlines()[-1]
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "uri",
    ["http://me:hunter2@host:port", "http://host:99999999", "gopher://me:hunter2@host", "http://h]/?token=hunter2"],
)
def test_an_mlflow_address_that_is_none_is_one_line(tmp_path: Path, uri: str) -> None:
    """A port that is no number, or too large a one, and schemes that MLflow does not know: exit code 4."""
    env = environment() | {"MLFLOW_TRACKING_URI": uri}
    done = lsml(tmp_path, "--debug", "evaluate", "--run-id", "0" * 32, env=env)
    assert done.returncode == 4, done.stderr
    assert "hunter2" not in done.stderr


def _fail(arguments: list[str], **options: object) -> int:
    raise KeyError("postgresql://u:hunter2@h/d")


def test_what_nobody_has_foreseen_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and a file that only its user can read with where it came from, without passwords."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "app", _fail)
    assert command_line.main(["study", "list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = (tmp_path / ".lsml" / "log").iterdir()
    assert line.startswith("lsml: error: lsml 0.1.0 has met something unforeseen: KeyError: ")
    assert str(log) in line
    text = log.read_text()
    assert "Traceback" in text
    assert "_fail" in text
    assert "hunter2" not in text + line
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert command_line.main(["--debug", "study", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_where_no_file_can_be_written_it_says_how_to_see_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a file where the state folder should be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lsml").write_text("")
    monkeypatch.setattr(command_line, "app", _fail)
    assert command_line.main([]) == 1
    assert "report it with what --debug shows" in capsys.readouterr().err


def test_what_goes_into_a_run_has_no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tags when it is made and after, and its parameters; a password that changes is known at once."""
    from lsml.tracking.writes import Write

    for secret in ("hunter22", "correct-horse"):
        monkeypatch.setenv("PGPASSWORD", secret)
        told = {"a": f"said {secret}", "b": f"postgresql://u:{secret}@h/d"}
        made, added = Write.of_run("a/b", "1", told), Write.of_values("a/b", params=told, tags=told)
        assert secret not in str(made.facts) + str(added.facts)
        assert made.facts["tags"]["a"] == added.facts["tags"]["a"] == added.facts["params"]["a"] == "said ***"
