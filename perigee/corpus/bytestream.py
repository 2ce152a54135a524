"""The bytes of an archive, in order and each exactly once, from a file or from a server.

Over HTTP(S) the archive is asked for in ranges that grow with what has been read, so that a
reader who stops early has hardly drawn more than he read. What a server may do, and what follows:

======================================  ==========================================================
time-out, reset, truncated body          asked again from the exact byte (Range with If-Range),
                                         after a back-off with jitter; an error after ``tries``
                                         tries in a row that brought no byte
another ETag, length or date midway      an error: the file changed
Range ignored (200)                      read on; after a break the part already read is read again
                                         and compared by hash
416 at the end of a file                 its end;  anywhere else: an error, the file is shorter
408, 425, 429, 5xx                       asked again, not before Retry-After; an error if that is
                                         longer than ``longest_wait``
any other status                         an error at once
redirect                                 followed, but not from https to http
gzip or deflate though not asked for     decoded, and read without ranges
======================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from perigee.corpus.answers import Patience
from perigee.corpus.download import HttpStream
from perigee.errors import SourceError
from perigee.files import sha256_file
from perigee.manifest import Input
from perigee.observer import SILENT, Observer


class ByteStream(Protocol):
    """Bytes in order; an empty ``read`` is the end."""

    position: int
    """Bytes read so far."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""

    def seek(self, position: int) -> None:
        """Go on reading at byte ``position``."""

    def identify(self) -> Input:
        """Name and version of what is read."""


class FileStream:
    """The bytes of a local file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.position = 0
        self._path = path
        self._file = file

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises
        ------
        SourceError
            If the file cannot be read.
        """
        try:
            data = self._file.read(size)
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", place=self._path) from None
        self.position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Go on reading at byte ``position``."""
        self.position = self._file.seek(position)

    def identify(self) -> Input:
        """Name, SHA-256 and bytes."""
        size = self._path.stat().st_size
        return Input(self._path.name, sha256_file(self._path), details={"bytes": size})


@contextmanager
def open_bytes(
    source: str, *, patience: Patience | None = None, observer: Observer = SILENT
) -> Iterator[ByteStream]:
    """Open a path or an ``http(s)://`` URL for reading from its beginning.

    Raises
    ------
    SourceError
        If there is no such file, or ``source`` is neither.
    DownloadError
        If the server refuses, or goes on failing.
    """
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme in ("http", "https"):
        with HttpStream(source, patience or Patience(), observer) as stream:
            yield stream
        return
    if scheme:
        raise SourceError(
            f"has the scheme {scheme!r}", place=source, expected="a path or http(s)://"
        )
    path = Path(source)
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(
            f"cannot be opened ({error.strerror})",
            place=path,
            expected="openwebtext2.jsonl.zst.tar",
            remedy="set [data] openwebtext2, --source or PERIGEE_OPENWEBTEXT2_URL",
        ) from None
    with file:
        yield FileStream(path, file)
