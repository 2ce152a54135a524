"""The systemd units, as far as systemd can tell without starting them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from units import HOME, ROOT, SHARED, UNITS, service_environment, values

ANALYZE = shutil.which("systemd-analyze")
SERVICES = sorted(UNITS.glob("*.service"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with commands that are there."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace(f"{HOME}/.venv/bin/", "/usr/bin/env "))
    return folder


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line(installed: Path) -> None:
    assert ANALYZE is not None
    units = sorted(str(u) for u in installed.iterdir() if u.is_file())
    done = subprocess.run([ANALYZE, "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shared = installed / "perigee-.service.d" / "shared.conf"
    shared.write_text(shared.read_text() + "Restrat=always\n")
    done = subprocess.run([ANALYZE, "verify", *units], capture_output=True, text=True)
    assert "'Restrat'" in done.stderr  # so it was read for all three


def test_nothing_listens_for_other_machines() -> None:
    commands = [line for unit in SERVICES for line in values(unit, "ExecStart")]
    hosts = [
        words[words.index("--host") + 1] for line in commands if "--host" in (words := line.split())
    ]
    assert hosts == ["127.0.0.1"]
    assert sum("--socket" in line for line in commands) == 1
    assert not any("0.0.0.0" in line for line in commands)


def test_no_password_is_in_any_file() -> None:
    for file in (ROOT / "deploy").rglob("*"):
        if file.is_file():
            assert not re.search(r"(?im)^\s*[^#]*pass\w*\s*[=:]", file.read_text()), file


def test_the_shared_instance_differs_from_the_local_one_where_it_must(tmp_path: Path) -> None:
    shared = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
    local = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    different = {key for key in shared.keys() | local.keys() if shared.get(key) != local.get(key)}
    assert different == {"storage", "concurrency", "run_monitoring", "retention"}
    assert shared["concurrency"]["pools"] == local["concurrency"]["pools"]
    assert shared["run_monitoring"]["enabled"] is True
    assert service_environment(tmp_path)["DAGSTER_HOME"] == f"{tmp_path}/deploy"


def test_the_target_starts_every_service() -> None:
    (wanted,) = values(UNITS / "perigee.target", "Wants")
    assert wanted.split() == [unit.name for unit in SERVICES]
    assert values(SHARED, "PartOf") == ["perigee.target"]
