from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perigee import files
from perigee.errors import ArtifactError, BusyError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with files.atomic_file(path) as aside:
        aside.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_directory_replaces_the_older_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for text in ("one", "two"):
        with files.atomic_directory(path) as aside:
            (aside / f"{text}.txt").write_text(text)
    assert names(path) == ["two.txt"]
    assert names(tmp_path) == ["checkpoint"]


def test_a_failing_directory_keeps_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with files.atomic_directory(path) as aside:
        (aside / "one.txt").write_text("one")
    with pytest.raises(OSError, match="disk"), files.atomic_directory(path) as aside:
        (aside / "two.txt").write_text("two")
        raise OSError("disk")
    assert names(path) == ["one.txt"]
    assert names(tmp_path) == ["checkpoint"]


def test_a_kill_between_the_two_renames_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    kept = tmp_path / ".checkpoint.old.part"
    kept.mkdir()
    (kept / "one.txt").write_text("one")
    files.recover_directory(path)
    assert names(path) == ["one.txt"]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", ""], check=True)
    assert child.returncode == 0
    dead = tmp_path / ".a.raw.999999999.part"
    living = tmp_path / f".a.raw.{os.getpid()}.part"
    dead.write_text("x")
    living.write_text("x")
    assert files.remove_partials(tmp_path) == [dead]
    assert names(tmp_path) == [living.name]


def test_one_value_has_one_fingerprint() -> None:
    assert files.fingerprint({"a": 1, "b": [2]}) == files.fingerprint({"b": [2], "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


def test_the_known_hash_of_abc(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert files.sha256_file(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_json_goes_round_and_says_where_it_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"word": "größe"})
    assert files.read_json(path) == {"word": "größe"} == json.loads(path.read_text("utf-8"))
    for text in ("{", "[" * 100_000, '{"loss": NaN}', "\xff" * 3):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(ArtifactError, match=r"x\.json: cannot be read as JSON"):
            files.read_json(path)
    with pytest.raises(ArtifactError, match="no such file"):
        files.read_json(tmp_path / "absent.json")


def test_not_a_number_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert names(tmp_path) == []


HOLDER = """
import sys, pathlib
from perigee.files import exclusive_lock
with exclusive_lock(pathlib.Path(sys.argv[1]), what="the corpus"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "corpus.lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BusyError, match=f"the corpus is in use by process {holder.pid}"),
            files.exclusive_lock(lock, what="the corpus"),
        ):
            pass
        holder.kill()
    with files.exclusive_lock(lock, what="the corpus"):
        assert lock.read_text() == f"process {os.getpid()}"
