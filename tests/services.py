"""Servers that a test needs for a while: started, watched, and ended by their number."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# a shell's background job ignores SIGINT, and Dagster then ignores SIGTERM too
LISTENING_TO_SIGNALS = ("env", "--default-signal=INT,TERM")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(happened: Callable[[], object], seconds: float, what: str) -> None:
    """Ask five times a second whether it ``happened``."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


class Service:
    """A process with its output in a file."""

    def __init__(
        self, command: Sequence[str], root: Path, environ: Mapping[str, str], log: Path
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*LISTENING_TO_SIGNALS, *command],
                cwd=root,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        """All of its output so far."""
        return self.log.read_text(errors="replace")

    def stop(self, seconds: float = 20) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within {seconds:.0f} s: {self.said()}") from None


class Pages:
    """Dagster's webserver, asked by GraphQL."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str, **variables: Any) -> Any:
        """The data that answer ``query``."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def is_up(self) -> bool:
        """Whether they answer, and know the code."""
        try:
            entries = self.ask(
                "{workspaceOrError {... on Workspace {locationEntries {"
                "locationOrLoadError {__typename}}}}}"
            )["workspaceOrError"]["locationEntries"]
        except (urllib.error.URLError, ConnectionError):
            return False
        return [e["locationOrLoadError"]["__typename"] for e in entries] == ["RepositoryLocation"]

    def launch(self, job: str) -> str:
        """Put a run of ``job`` into the queue; its id."""
        selector = {
            "repositoryLocationName": "perigee",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        launched = self.ask(
            "mutation ($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename "
            "... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}",
            p={"selector": selector, "mode": "default"},
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run: str = launched["run"]["runId"]
        return run

    def status(self, run: str) -> str:
        """Where a run stands: STARTED, SUCCESS, ..."""
        found = self.ask("query ($r: ID!) {runOrError(runId: $r) {... on Run {status}}}", r=run)[
            "runOrError"
        ]
        status: str = found["status"]
        return status

    def materialised(self, run: str) -> list[str]:
        """Keys of the assets that a run has made so far."""
        events = self.ask(
            "query ($r: ID!) {runOrError(runId: $r) {... on Run {assetMaterializations {"
            "assetKey {path}}}}}",
            r=run,
        )["runOrError"]["assetMaterializations"]
        return [".".join(event["assetKey"]["path"]) for event in events]
