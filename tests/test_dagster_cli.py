"""The start-up hook: `dagster job execute` finds the project, and nothing else notices it."""

from __future__ import annotations

from pathlib import Path

import pytest

from perigee._dagster_cli import MATERIALIZE_CONFIG, MODULE, dagster_arguments, fill_in

PATIENT = {"GOMP_SPINCOUNT": "4000"}
EXECUTE = ["job", "execute", "-j", "train_perigee"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with the files that make it a root of the project."""
    (tmp_path / "pipelines").mkdir()
    for name in ("workspace.yaml", "dagster.yaml", "pipelines/definitions.py"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python", "/opt/bin/dagster", "job", "execute"], ["job", "execute"]),
        (["python", "-X", "importtime", "-W", "error", "bin/dagster", "dev"], ["dev"]),
        (["python", "-I", "-m", "dagster", "job", "list"], ["job", "list"]),
        (["python", "dagster-daemon", "run"], ["run"]),
        (["python", "-m", "pytest", "dagster", "job", "execute"], None),
        (["python", "-c", "pass", "dagster", "job", "execute"], None),
        (["python", "train.py", "dagster", "job", "execute"], None),
        (["python"], None),
        ([], None),
    ],
)
def test_only_dagsters_own_programs_count(argv: list[str], expected: list[str] | None) -> None:
    assert dagster_arguments(argv) == expected


def test_job_execute_is_told_where_the_code_is(root: Path) -> None:
    environ: dict[str, str] = {}
    fill_in(EXECUTE, environ, root)
    assert environ == {"DAGSTER_HOME": str(root), "DAGSTER_MODULE_NAME": MODULE, **PATIENT}


@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [
        (["asset", "materialize", "--select", "*"], True),
        (["asset", "materialize", "--select", "*", "-c", "run.yaml"], False),
        (["asset", "materialize", "--config-json={}", "--select", "*"], False),
        (["asset", "list"], False),
    ],
)
def test_asset_materialize_logs_in_short_lines_as_the_jobs_do(
    root: Path, arguments: list[str], is_told: bool
) -> None:
    environ: dict[str, str] = {}
    fill_in(arguments, environ, root)
    assert environ["DAGSTER_MODULE_NAME"] == MODULE
    assert (environ.get(MATERIALIZE_CONFIG[0]) == MATERIALIZE_CONFIG[1]) is is_told


@pytest.mark.parametrize(
    "arguments",
    [
        ["dev"],
        ["run", "list"],
        ["definitions", "validate"],
        ["job", "launch", "-j", "train_perigee"],
        [*EXECUTE, "-f", "other.py"],
        [*EXECUTE, "-mother.definitions"],
        [*EXECUTE, "--module-name=other"],
        [*EXECUTE, "--python-file", "other.py"],
    ],
)
def test_what_reads_the_workspace_or_names_its_code_is_left_alone(
    root: Path, arguments: list[str]
) -> None:
    environ: dict[str, str] = {}
    fill_in(arguments, environ, root)
    assert environ == {"DAGSTER_HOME": str(root), **PATIENT}


@pytest.mark.parametrize(
    "variable", ["DAGSTER_MODULE_NAME", "DAGSTER_PACKAGE_NAME", "DAGSTER_PYTHON_FILE"]
)
def test_what_a_person_has_said_stays(root: Path, variable: str) -> None:
    said = {variable: "other", "DAGSTER_HOME": "/srv/dagster", "GOMP_SPINCOUNT": "7"}
    environ = dict(said)
    fill_in(EXECUTE, environ, root)
    assert environ == said


@pytest.mark.parametrize("missing", ["workspace.yaml", "dagster.yaml", "pipelines/definitions.py"])
def test_other_directories_are_left_alone(root: Path, missing: str) -> None:
    (root / missing).unlink()
    environ: dict[str, str] = {}
    fill_in(EXECUTE, environ, root)
    assert environ == {}
