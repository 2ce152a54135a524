"""A file of documents, one a line, read in blocks that end between words."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perigee.corpus.documents import raw_paths
from perigee.errors import ArtifactError, Interrupted
from perigee.manifest import Input, Manifest, read_manifest
from perigee.observer import Observer
from perigee.tokenizer.pieces import Pieces, find_pieces

BLOCK_BYTES = 1 << 23
MAXIMUM_WORKERS = 4
"""Threads that cut blocks; more would only hold blocks in memory and wait for the one behind."""
_LINE_END = b"\n"


@dataclass
class RawReader:
    """Reads ``raw`` once, in order, and checks on the way that it is what its manifest says."""

    raw: Path
    manifest: Manifest | None = field(init=False)
    """The manifest beside the file, if there is one."""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        path = raw_paths(self.raw).manifest
        self.manifest = read_manifest(path) if path.is_file() else None
        try:
            self.size = self.raw.stat().st_size
        except OSError:
            raise ArtifactError(
                "no such file of documents", place=self.raw, remedy="build the corpus first"
            ) from None
        if not self.size:
            raise ArtifactError("holds no documents", place=self.raw)

    def as_input(self, relative_to: Path) -> Input:
        """The file as the input of a manifest in ``relative_to``."""
        if self.manifest is None:
            with self.raw.open("rb") as file:
                return Input(self.raw.name, hashlib.file_digest(file, "sha256").hexdigest())
        path = os.path.relpath(raw_paths(self.raw).manifest, relative_to)
        return Input(self.manifest.artifact, self.manifest.version, path)

    def pieces(self, task: str, observer: Observer) -> Iterator[Pieces]:
        """The pieces of block after block; blocks are cut on all cores, a few ahead.

        Raises
        ------
        ArtifactError
            After the last block, if the file is not what its manifest says.
        Interrupted
            If the observer asks for a stop.
        """
        digest = hashlib.sha256()
        workers = min(len(os.sched_getaffinity(0)), MAXIMUM_WORKERS)
        done = 0
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[tuple[int, Future[Pieces]]] = deque()
            for block in self._blocks(digest):
                if observer.should_stop():
                    raise Interrupted("stopped as asked", place=task, remedy="run it again")
                ahead.append((len(block), pool.submit(find_pieces, block)))
                if len(ahead) > workers:
                    size, future = ahead.popleft()
                    yield future.result()
                    done += size
                    observer.progress(task, done, self.size, "bytes")
            for size, future in ahead:
                yield future.result()
                done += size
                observer.progress(task, min(done, self.size), self.size, "bytes")
        self._check(digest.hexdigest())

    def _blocks(self, digest: Any) -> Iterator[bytes]:
        rest = b""
        with self.raw.open("rb") as file:
            while data := file.read(BLOCK_BYTES):
                digest.update(data)
                end = max(data.rfind(b" "), data.rfind(_LINE_END)) + 1
                if end:
                    yield rest + data[:end]
                    rest = data[end:]
                else:
                    rest += data
        if rest:
            yield rest + _LINE_END

    def _check(self, digest: str) -> None:
        if self.manifest is None:
            return
        recorded = {file.path: file.sha256 for file in self.manifest.files}
        if recorded.get(self.raw.name) != digest:
            raise ArtifactError(
                "does not hold what its manifest says", place=self.raw, remedy="build it again"
            )
