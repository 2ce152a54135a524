"""The layers: what may import what, and what must not cost torch."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN = {
    "perigee": ("dagster", "assets", "pipelines"),
    "perigee/model": ("perigee.diffusion", "perigee.corpus", "perigee.tokenizer"),
    "perigee/diffusion": ("perigee.model",),
    "perigee/corpus": ("torch", "perigee.model", "perigee.training", "perigee.generation"),
    "perigee/tokenizer": ("torch", "perigee.model", "perigee.training", "perigee.generation"),
    "assets": ("pipelines",),
}
"""Directory, and what no module in it may import, at its top or inside a function."""

ENVIRONMENT_READERS = ("perigee/config.py", "perigee/_dagster_cli.py", "perigee/cli/")


def modules(directory: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module under ``directory``: its path from the root, and its syntax tree."""
    for path in sorted((ROOT / directory).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    """Whether ``name`` is ``package`` or inside it."""
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("directory", FORBIDDEN)
def test_layers(directory: str) -> None:
    found = [
        f"{path} imports {name}"
        for path, tree in modules(directory)
        for name in imported(tree)
        if any(within(name, package) for package in FORBIDDEN[directory])
    ]
    assert found == []


def test_the_rule_sees_imports_inside_functions() -> None:
    tree = ast.parse("def f():\n    from torch import nn\n    import torch.nn as other\n")
    assert list(imported(tree)) == ["torch.nn", "torch.nn"]
    assert within("torch.nn", "torch")
    assert not within("torchvision", "torch")


def test_only_the_settings_and_the_commands_read_the_environment() -> None:
    readers = {
        path
        for path, tree in modules("perigee")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv", "environb")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert sorted(p for p in readers if not p.startswith(ENVIRONMENT_READERS)) == []


def test_nothing_draws_from_a_global_generator() -> None:
    drawn = [
        f"{path}: {ast.unparse(node)}"
        for path, tree in modules("perigee")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("np.random", "numpy.random", "random")
        and node.attr not in ("Generator", "Philox")
    ]
    assert drawn == []


def start(code: str) -> tuple[float, list[str]]:
    """Seconds of processor time, and modules, of a fresh interpreter that runs ``code``."""
    shown = "; import sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PERIGEE_", "DAGSTER_"))}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code + shown],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, done.stdout.split()


@pytest.mark.parametrize(
    ("code", "most"),
    [
        ("import perigee", 0.5),
        ("import perigee.cli.main", 1.0),
        ("import pipelines.definitions", 3.0),
    ],
)
def test_starts_fast_and_without_torch(code: str, most: float) -> None:
    # processor time: other tests on the machine do not count
    seconds, loaded = start(code)
    assert "torch" not in loaded
    assert seconds < most


def test_the_training_process_is_free_of_dagster() -> None:
    _, loaded = start("import assets.training_process, perigee.training.trainer")
    assert "torch" in loaded
    assert "dagster" not in loaded
