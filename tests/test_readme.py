from __future__ import annotations

import re
from pathlib import Path

from file_map import BEGIN, END, file_map, phrase

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_file_map_is_that_of_the_tree() -> None:
    shown = README.partition(BEGIN)[2].partition(END)[0]
    assert shown == file_map(), "run: python tests/file_map.py"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        file
        for folder in ("perigee", "assets", "pipelines", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if not phrase(file)
    ]
    assert silent == []


def test_every_path_and_picture_it_names_is_there() -> None:
    named = re.findall(r"`((?:configs|perigee|docs)/[\w./]+\.(?:toml|py|svg|gif|png))`", README)
    named += re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(named) >= 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_it_names_exists() -> None:
    from typer.main import get_command

    from perigee.cli.main import app

    known = set(get_command(app).commands)
    rows = [row for row in README.splitlines() if row.startswith("| `perigee ")]
    named = {name for row in rows for name in re.findall(r"`perigee ([a-z]+)", row)}
    assert named == known
