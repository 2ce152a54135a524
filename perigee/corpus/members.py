"""The documents inside an archive: tar members of zstd frames of JSON lines.

The tar is the frame that everything hangs on: if it is cut short or damaged, nothing after that
point can be found, and reading stops with an error. What is wrong *inside* a member costs that
line, or the rest of that member, and is counted by reason (see :class:`Lost`).
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, NoReturn, cast

import orjson

from perigee.corpus.bytestream import ByteStream
from perigee.corpus.cleaning import clean_label, encode
from perigee.corpus.documents import Document, Origin, prepare
from perigee.corpus.duplicates import SeenTexts
from perigee.corpus.frames import ContentLimits, MemberError, read_lines
from perigee.errors import SourceError
from perigee.observer import Observer

SOURCE = "openwebtext2"
MEMBER_SUFFIX = ".jsonl.zst"

_TAR_BUFFER = 1 << 16
_LARGEST_HEADER = 1 << 20
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass
class Lost:
    """What could not be kept, by reason.

    Of lines: ``bad_json``, ``not_an_object``, ``no_text`` (missing or not a string),
    ``line_too_long``, ``blank_line``, ``empty`` (nothing left after cleaning), ``duplicate``.
    Of members, each standing for all of its remaining lines: ``corrupt_frame`` (damaged, cut
    short, or not zstd), ``expands_without_end``.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    members: int = 0
    """Members that could not be read to their ends."""

    def take(self) -> Counter[str]:
        """The counts since the last call."""
        taken, self.reasons = self.reasons, Counter()
        return taken


def unseen(documents: Iterator[Document], seen: SeenTexts, lost: Lost) -> Iterator[Document]:
    """The documents whose text was not met before; it is from now on."""
    for document in documents:
        if document.digest in seen:
            lost.reasons["duplicate"] += 1
        else:
            seen.add(document.digest)
            yield document


def read_documents(
    stream: ByteStream, place: str, lost: Lost, limits: ContentLimits, observer: Observer
) -> Iterator[Document]:
    """The documents of an archive in order; not one byte is drawn for those not asked for.

    Raises
    ------
    SourceError
        If the archive is not a tar, is cut short or damaged.
    """
    # tarfile asks nothing of a stream but read(), whatever its type says.
    file = cast(BinaryIO, stream)
    try:
        with tarfile.open(
            fileobj=file, mode="r|", bufsize=_TAR_BUFFER, tarinfo=_header_class(place)
        ) as tar:
            for member in _members(tar, place):
                yield from _whole_or_lost(tar, member, place, lost, limits, observer)
            _check_end(tar, place)
    except tarfile.TarError as error:
        _damaged(place, str(error))


def read_spread_documents(
    stream: ByteStream,
    place: str,
    count: int,
    lost: Lost,
    limits: ContentLimits,
    observer: Observer,
) -> Iterator[Document]:
    """About ``count`` documents without duplicates, as evenly from all members as they allow.

    First the headers alone are read, from one to the next; then the members from the smallest to
    the largest, each for its share of the documents that are still wanted, so that the large ones
    make up for what the small ones do not hold. Fewer come out if even the largest runs short.

    Raises
    ------
    SourceError
        If the archive is not a tar, is cut short or damaged.
    DownloadError
        If a server does not answer requests for ranges.
    """
    file = cast(BinaryIO, _Seekable(stream))
    seen = SeenTexts()
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_header_class(place)) as tar:
            members = sorted(_members(tar, place), key=lambda m: (m.size, m.name))
            _check_end(tar, place)
            for number, member in enumerate(members):
                share = -(-count // (len(members) - number))
                documents = _whole_or_lost(tar, member, place, lost, limits, observer)
                for document in islice(unseen(documents, seen, lost), share):
                    count -= 1
                    yield document
    except tarfile.TarError as error:
        _damaged(place, str(error))


class _Seekable:
    """A byte stream as ``tarfile`` wants a file: reads are whole, and the position is told."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        pieces = []
        while size and (data := self._stream.read(size)):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def seek(self, position: int) -> int:
        self._stream.seek(position)
        return position

    def tell(self) -> int:
        return self._stream.position


def _members(tar: tarfile.TarFile, place: str) -> Iterator[tarfile.TarInfo]:
    """The members that hold documents."""
    while True:
        try:
            member = tar.next()
        except (ValueError, OverflowError, EOFError, KeyError, IndexError) as error:
            # tarfile lets these through for some damaged extended headers.
            _damaged(place, str(error))
        if member is None:
            return
        if member.isreg() and member.name.endswith(MEMBER_SUFFIX):
            yield member


def _check_end(tar: tarfile.TarFile, place: str) -> None:
    """``tarfile`` stops at one block of zeros; a zeroed header is one too, but more follows it."""
    assert tar.fileobj is not None
    while data := tar.fileobj.read(_TAR_BUFFER):
        if any(data):
            _damaged(place, "something follows its end mark")


def _whole_or_lost(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    place: str,
    lost: Lost,
    limits: ContentLimits,
    observer: Observer,
) -> Iterator[Document]:
    name = clean_label(member.name)
    try:
        file = tar.extractfile(member)
        if file is None or member.issparse():
            raise MemberError("corrupt_frame")
        yield from _member_documents(cast(BinaryIO, file), name, lost, limits)
    except MemberError as error:
        lost.reasons[str(error)] += 1
        lost.members += 1
        observer.say(f"{place}: {name}: {error}: the rest of it is left out", "warning")


def _damaged(place: str, why: str) -> NoReturn:
    raise SourceError(
        f"is not a whole tar archive ({why})",
        place=place,
        remedy="it is cut short or damaged: fetch it again",
    ) from None


def _header_class(place: str) -> type[tarfile.TarInfo]:
    """Tar headers that say what is wrong where ``tarfile`` would take it for the end."""

    class StrictHeader(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictHeader:
            try:
                header = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                    raise  # the end mark
                _damaged(place, str(error))
            if header.type in _EXTENDED and header.size > _LARGEST_HEADER:
                _damaged(place, f"a header of {header.size} bytes")
            return header

    return StrictHeader


def _member_documents(
    file: BinaryIO, member: str, lost: Lost, limits: ContentLimits
) -> Iterator[Document]:
    for row, line in read_lines(file, limits):
        document = "line_too_long" if line is None else _document(line, member, row)
        if isinstance(document, str):
            lost.reasons[document] += 1
        else:
            yield document


def _document(line: bytes, member: str, row: int) -> Document | str:
    """The document in a JSON line, or the reason why there is none."""
    if not line or line.isspace():
        return "blank_line"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = _with_surrogates(line)
        if value is None:
            return "bad_json"
    if not isinstance(value, dict):
        return "not_an_object"
    text = value.get("text")
    if not isinstance(text, str):
        return "no_text"
    return prepare(encode(text), _origin(value.get("meta"), member, row)) or "empty"


def _origin(meta: Any, member: str, row: int) -> Origin:
    meta = meta if isinstance(meta, dict) else {}
    created = meta.get("reddit_created_utc")
    date = created[0] if isinstance(created, list) and created else created
    if not isinstance(date, str):
        date = member.rpartition("/")[2].removesuffix(MEMBER_SUFFIX)
    title, url = clean_label(meta.get("title")), clean_label(meta.get("url"))
    return Origin(SOURCE, member, row, title, url, clean_label(date))


def _with_surrogates(line: bytes) -> Any:
    """The value of a JSON line that only lone surrogates make unacceptable to ``orjson``."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return None
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
