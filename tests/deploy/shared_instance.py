"""The three services of the units, around a database of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError

from postgres_server import PostgresServer
from services import Pages, Service, free_port, wait_until
from tiny_project import environment
from units import command, service_environment


class SharedInstance:
    """What ``systemctl start perigee.target`` starts, in a root and on a port of the test's own."""

    def __init__(self, root: Path, database: PostgresServer) -> None:
        self.root = root
        self.environ = {**environment(root), **service_environment(root), **database.environment()}
        self._port = free_port()
        self._stack = ExitStack()
        self.pages = Pages(self._port)

    def start(self) -> None:
        """Start them in the order in which the units ask for it."""
        before = self._command("daemon", "ExecStartPre")
        subprocess.run(before, cwd=self.root, env=self.environ, check=True, capture_output=True)
        for name in ("code", "daemon", "webserver"):
            service = Service(
                self._command(name, "ExecStart"), self.root, self.environ, self.log(name)
            )
            self._stack.callback(service.stop)
        wait_until(self.pages.is_up, 90, "the webserver")

    def stop(self) -> None:
        """Stop them, the last one first."""
        self._stack.close()

    def log(self, service: str) -> Path:
        """Where a service writes what it says."""
        return self.root / f"{service}.log"

    def status(self, run: str) -> str:
        """Where a run stands; nothing while the webserver finds its connections broken."""
        try:
            return self.pages.status(run)
        except HTTPError:
            return ""

    def _command(self, service: str, key: str) -> Sequence[str]:
        words = command(service, key, self.root, self.environ)
        return [str(self._port) if word == "3000" else word for word in words]
