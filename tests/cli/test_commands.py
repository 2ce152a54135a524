from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from perigee.cli import main; main()"]
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PERIGEE_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100", **environ}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def one_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The line a user's mistake gets: alone, with exit status 2, and no traceback."""
    assert finished.returncode == 2, finished.stderr
    lines = finished.stderr.splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("perigee: ")
    return lines[0]


def test_the_help_names_every_command() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("corpus", "vocabulary", "train", "evaluate", "generate", "show", "lineage"):
        assert f" {command} " in shown.stdout


def test_the_help_needs_no_torch_and_no_time() -> None:
    probe = (
        "import sys, time; start = time.perf_counter()\n"
        "from perigee.cli.main import app\n"
        "import typer.main; typer.main.get_command(app)\n"
        "heavy = {'torch', 'dagster', 'duckdb', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, timeout=30)
    start = time.perf_counter()
    assert run("--help").returncode == 0
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("group", ["pg19", "openwebtext2", "unify", "sample"])
def test_the_corpus_commands_have_the_originals_flags(group: str) -> None:
    shown = run("corpus", group, "--help").stdout
    flags = {
        "pg19": ["--root", "--train-limit", "--valid-limit", "--test-limit"],
        "openwebtext2": ["--source", "--train-count", "--val-count", "--test-count"],
    }
    for flag in [*flags.get(group, []), "--output-dir"]:
        assert flag in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate"], "Missing argument 'ARGUMENTS'"),
        (["generate", "--steps", "-3", "x"], "Invalid value for '--steps'"),
        (["generate", "--steps"], "Option '--steps' requires an argument"),
        (["generate", "--view", "film", "x"], "'film' is not one of 'matrix', 'live'"),
        (["generate", "--stps", "3", "x"], "No such option: --stps"),
        (["genrate", "x"], "No such command 'genrate'. Did you mean 'generate'?"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(arguments: list[str], said: str) -> None:
    line = one_line(run(*arguments))
    assert said in line
    assert line.endswith("--help")


def test_no_command_shows_the_help() -> None:
    shown = run()
    assert shown.returncode == 2
    assert " generate " in shown.stdout + shown.stderr
    assert "perigee: " not in shown.stderr


def test_a_missing_root_is_one_line(tmp_path: Path) -> None:
    line = one_line(run("corpus", "pg19", "--root", str(tmp_path / "absent"), cwd=tmp_path))
    assert "absent" in line
    assert list(tmp_path.glob("**/*.raw")) == []


def test_a_bad_count_is_one_line(tmp_path: Path) -> None:
    arguments = ("corpus", "openwebtext2", "--source", "x.tar", "--val-count", "many")
    assert "--val-count: is 'many'" in one_line(run(*arguments, cwd=tmp_path))


def test_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[model]\nnum_layer = 3\n")
    line = one_line(run("train", "mine.toml", cwd=tmp_path))
    assert line == "perigee: mine.toml: unknown key [model] num_layer; did you mean 'num_layers'?"


def test_a_bad_override_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    line = one_line(run("train", "mine.toml", cwd=tmp_path, PERIGEE_NUM_LAYERS="many"))
    assert "PERIGEE_NUM_LAYERS" in line


def test_training_without_documents_says_what_to_run_first(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    line = one_line(run("train", "mine.toml", cwd=tmp_path))
    assert "unified.train" in line
    assert list(tmp_path.glob("artifacts/**/perigee_vocab*")) == []
