"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, reached through a socket there alone."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.conftest import wait_for

_SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "50"}
_SERVERS_USERS = ("postgres", "nobody")  # it refuses to run as root
_numbers = itertools.count()


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, dropped afterwards."""
        name = f"store{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self._url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def end_sessions(self) -> None:
        """Cut every connection but this one's, as a server does that is restarted."""
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    def _execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def close(self) -> None:
        """Let go of the server."""
        self._admin.dispose()


@contextlib.contextmanager
def running(settings: dict[str, str] | None = None) -> Iterator[Postgres]:
    """Make and start a server; skips the test by name where PostgreSQL is not installed."""
    programs = _programs()
    user = next((each for each in _SERVERS_USERS if _exists(each)), None) if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="edgeward-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        make = [programs / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        command = [*make, "--locale=C.UTF-8", "--pgdata", folder / "data"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **as_user)
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **(settings or {})}.items()]
        command = [programs / "postgres", "-D", folder / "data", "-k", folder, *options]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user)
        try:
            ready = [programs / "pg_isready", "--quiet", "--host", folder]
            wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL to answer")
            with contextlib.closing(Postgres(folder)) as postgres:
                yield postgres
        finally:
            server.send_signal(signal.SIGINT)  # "fast": open sessions end
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Where initdb is: Debian keeps it off PATH, by version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("postgresql is not installed: apt-get install postgresql")
    return Path(found).resolve().parent


def _exists(user: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(user))
    return False
