"""The systemd units of deploy/, read closely enough to run what they run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
SHARED = UNITS / "perigee-.service.d" / "shared.conf"
HOME = "/srv/perigee"
SOCKET = "/run/perigee/code.sock"


def values(file: Path, key: str) -> list[str]:
    """What stands after ``key=``, once for each time."""
    lines = (line.partition("=") for line in file.read_text().splitlines())
    return [value for name, _, value in lines if name == key]


def relocated(text: str, root: Path) -> str:
    """``text`` for a project in ``root``, run by the Python of this test, its socket inside."""
    programs = f"{HOME}/.venv/bin/"
    return (
        text.replace(programs, f"{Path(sys.executable).parent}{os.sep}")
        .replace(HOME, str(root))
        .replace(SOCKET, str(root / "code.sock"))
    )


def service_environment(root: Path) -> dict[str, str]:
    """The variables that the units set."""
    return dict(relocated(v, root).split("=", 1) for v in values(SHARED, "Environment"))


def command(service: str, key: str, root: Path, environ: Mapping[str, str]) -> list[str]:
    """The command of ``key`` of a service, its variables filled in, as systemd does."""
    (line,) = values(UNITS / f"perigee-{service}.service", key)
    for name, value in environ.items():
        line = line.replace(f"${{{name}}}", value)
    return shlex.split(relocated(line, root))
