"""Files that appear whole or not at all, their hashes, and locks on outputs.

Everything is written beside its destination under a name of its own, flushed to disk and renamed;
a crash or a full disk leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perigee.errors import ArtifactError, BusyError

PARTIAL_SUFFIX = ".part"


def partial_path(path: Path) -> Path:
    """The name under which ``path`` is written before it is whole: hidden, beside it."""
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")


def sync_directory(directory: Path) -> None:
    """Make the renames inside ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush the contents of ``path`` to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes ``path``, on any exception it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = partial_path(path)
    try:
        yield aside
        sync_file(aside)
        aside.replace(path)
        sync_directory(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to fill; on success it becomes ``path``, replacing an older one.

    Two renames cannot be one step: a kill between them leaves the old directory under its
    ``.old.part`` name beside an absent ``path``; :func:`recover_directory` puts it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = partial_path(path)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for file in sorted(p for p in aside.rglob("*") if p.is_file()):
            sync_file(file)
        sync_directory(aside)
        replaced = _replaced_path(path)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        aside.rename(path)
        sync_directory(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        recover_directory(path)
        raise


def _replaced_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.old{PARTIAL_SUFFIX}")


def recover_directory(path: Path) -> None:
    """Undo an :func:`atomic_directory` that was killed between its two renames."""
    replaced = _replaced_path(path)
    if replaced.exists() and not path.exists():
        replaced.rename(path)


def remove_partials(directory: Path) -> list[Path]:
    """Remove what killed processes left unfinished in ``directory``; living ones keep theirs."""
    removed = []
    for leftover in sorted(directory.glob(f".*{PARTIAL_SUFFIX}")):
        owner = leftover.name.removesuffix(PARTIAL_SUFFIX).rpartition(".")[2]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        removed.append(leftover)
    return removed


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. What fingerprints are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON that this project wrote.

    Raises
    ------
    ArtifactError
        If the file is missing, not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ArtifactError("no such file", place=path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"cannot be read as JSON ({error})", place=path) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@contextmanager
def exclusive_lock(path: Path, *, what: str, wait_seconds: float = 0.0) -> Iterator[int]:
    """Hold a kernel lock on ``path`` (made if absent) that dies with the process.

    Yields the lock's file descriptor: a child that is given it holds the lock too, until both are
    gone.

    Raises
    ------
    BusyError
        If another process still holds it after ``wait_seconds``; the line names that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise BusyError(
                        f"{what} is in use by {holder}",
                        place=path,
                        remedy="wait for it to end, or stop it",
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield file.fileno()
