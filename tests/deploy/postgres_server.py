"""A PostgreSQL server of Debian's packages, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2
from services import free_port, wait_until

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
PASSWORD = "a password of this test's own: 100 %@/"


def server_user() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """Listens on 127.0.0.1 only, wants a password, and keeps nothing on disk in earnest."""

    def __init__(self) -> None:
        assert PROGRAMS is not None
        self._user = server_user()
        # not under pytest's directory, which is closed to every other user
        self._directory = Path(tempfile.mkdtemp(prefix="perigee-postgres-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._create()
            self.start()
            self._run(["createdb", "--template=template0", "perigee"])
        except BaseException:
            self.remove()
            raise

    def _create(self) -> None:
        password = self._directory / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            for path in (self._directory, password):
                shutil.chown(path, self._user)
        initdb = "initdb --no-sync --username=perigee --auth=scram-sha-256 --encoding=UTF8"
        self._run([*initdb.split(), "--locale=C", f"--pwfile={password}", "data"])
        password.unlink()

    def _run(self, command: list[str]) -> None:
        assert PROGRAMS is not None
        done = subprocess.run(
            [PROGRAMS.parent / command[0], *command[1:]],
            cwd=self._directory,
            user=self._user,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath, "LC_ALL": "C", **self.environment()},
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAMS is not None
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self._directory}",
            "fsync=off",
            "shared_buffers=16MB",
        )
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS.parent / "postgres", "-D", "data", *(f"-c{s}" for s in settings)],
                cwd=self._directory,
                user=self._user,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 30, "PostgreSQL")

    def _answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg2.OperationalError:
            assert self._process is not None
            assert self._process.poll() is None, (self._directory / "server.log").read_text()
            return False
        return True

    def stop(self) -> None:
        """As ``systemctl stop`` does: connections in use are broken off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def connect(self, database: str = "perigee") -> psycopg2.extensions.connection:
        """A connection of the test's own."""
        return psycopg2.connect(
            host="127.0.0.1", port=self.port, user="perigee", password=PASSWORD, dbname=database
        )

    def environment(self) -> dict[str, str]:
        """What tells libpq, and so Dagster, of this server."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "perigee",
            "PGDATABASE": "perigee",
            "PGPASSWORD": PASSWORD,
        }

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._directory)
