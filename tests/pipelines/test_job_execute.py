"""The command itself, in an empty environment, on a project of a few documents."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_project import make_root

DAGSTER = shutil.which("dagster", path=str(Path(sys.executable).parent))


def hook_is_installed() -> bool:
    """Whether this environment has the project with its start-up hook, as `make` installs it."""
    try:
        files = importlib.metadata.files("perigee") or []
    except importlib.metadata.PackageNotFoundError:
        return False
    return any(file.name == "perigee-dagster-cli.pth" for file in files)


pytestmark = pytest.mark.skipif(
    DAGSTER is None or not hook_is_installed(),
    reason="the project is not installed here: pip install --no-deps --editable .",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of the project whose code is this one's and whose data are its own."""
    return make_root(tmp_path_factory.mktemp("project"))


def dagster(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Dagster in ``root`` with next to nothing in the environment."""
    assert DAGSTER is not None
    environ = {
        "PATH": f"{Path(DAGSTER).parent}{os.pathsep}{os.defpath}",
        "HOME": str(root),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.run(
        ["dagster", *arguments], cwd=root, env=environ, capture_output=True, text=True, timeout=240
    )


def execute(root: Path, config: str = "tiny.toml", **more: str) -> subprocess.CompletedProcess[str]:
    return dagster(root, "job", "execute", "-j", "train_perigee", PERIGEE_CONFIG=config, **more)


def leftovers(root: Path) -> list[Path]:
    """Unfinished files, and temporary instances."""
    return [*root.rglob("*.part"), *root.glob(".tmp_dagster_home_*")]


def test_the_whole_lineage_and_then_nothing(root: Path) -> None:
    first = execute(root)
    assert first.returncode == 0, first.stderr
    for artifact in (
        "data_sets/unified.train.raw",
        "artifacts/perigee/checkpoints/perigee_epoch2/model.safetensors",
        "artifacts/perigee/evaluation/perigee.json",
        "artifacts/perigee/samples/perigee/samples.gif",
    ):
        assert (root / artifact).is_file(), artifact
    written = {p: p.stat().st_mtime_ns for p in root.rglob("*manifest.json")}
    second = execute(root)
    assert second.returncode == 0, second.stderr
    assert "training is finished: epochs 1 to 2 of 2 stand" in second.stderr
    assert second.stderr.count("reused") >= 10
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*manifest.json")} == written
    assert leftovers(root) == []
    runs = dagster(root, "run", "list")
    assert runs.stdout.count("Job: train_perigee") == 2


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"config": "wrong.toml"}, "wrong.toml: unknown key [model] num_layer; did you mean"),
        ({"PERIGEE_NUM_LAYERS": "many"}, "PERIGEE_NUM_LAYERS: is 'many'; expected a whole number"),
        ({"PERIGEE_PG19_ROOT": "cut"}, "train-cut.parquet"),
    ],
)
def test_a_users_mistake_is_one_line_at_the_end_with_status_2(
    root: Path, variables: dict[str, str], line: str
) -> None:
    (root / "wrong.toml").write_text("[model]\nnum_layer = 2\n")
    (root / "cut").mkdir(exist_ok=True)
    for split in ("train", "validation", "test"):
        (root / "cut" / f"{split}-cut.parquet").write_bytes(b"PAR1 and then nothing")
    failed = execute(root, **variables)
    last = failed.stderr.splitlines()[-1]
    assert failed.returncode == 2, failed.stderr
    assert last.startswith("perigee: ")
    assert line in last
    assert "Traceback" not in failed.stderr
    assert "Stack Trace" not in failed.stderr
    assert leftovers(root) == []
