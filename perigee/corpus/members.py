"""The documents inside an archive: tar members of zstd frames of JSON lines.

The tar is the frame that everything hangs on: if it is cut short or damaged, nothing after that
point can be found, and reading stops with an error. What is wrong *inside* a member costs that
line, or the rest of that member, and is counted by reason (see :class:`Lost`).
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, NamedTuple, NoReturn, cast

from perigee.corpus.ahead import in_order
from perigee.corpus.bytestream import ByteStream
from perigee.corpus.cleaning import clean_label
from perigee.corpus.documents import Document
from perigee.corpus.duplicates import SeenTexts
from perigee.corpus.frames import ContentLimits, MemberError, read_blocks
from perigee.corpus.pages import MEMBER_SUFFIX, read_pages
from perigee.errors import SourceError
from perigee.observer import Observer

_TAR_BUFFER = 1 << 16
_LARGEST_HEADER = 1 << 20
_AHEAD = 0.25
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
    archive_bytes: int = 0
    """Bytes of the archive that what was given out so far stands in."""

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


class _Job(NamedTuple):
    """A block of lines to be read, or what became of a member."""

    member: str
    row: int
    data: bytes | None
    """``None`` for a line that is too long."""
    longest: int
    position: int
    """Bytes of the archive read so far."""
    failure: str = ""
    """Why the rest of the member is lost."""


class _Done(NamedTuple):
    job: _Job
    documents: list[Document | str]


def read_documents(
    stream: ByteStream, place: str, lost: Lost, limits: ContentLimits, observer: Observer
) -> Iterator[Document]:
    """The documents of an archive in order; hardly a byte is drawn for those not asked for.

    Raises
    ------
    SourceError
        If the archive is not a tar, is cut short or damaged.
    """
    jobs = _all_jobs(stream, place, limits)
    yield from _documents(jobs, place, lost, observer)
    lost.archive_bytes = stream.position


def _all_jobs(stream: ByteStream, place: str, limits: ContentLimits) -> Iterator[_Job]:
    # tarfile asks nothing of a stream but read(), whatever its type says.
    file = cast(BinaryIO, stream)
    try:
        with tarfile.open(
            fileobj=file, mode="r|", bufsize=_TAR_BUFFER, tarinfo=_header_class(place)
        ) as tar:
            for member in _members(tar, place):
                yield from _jobs(tar, member, stream, limits)
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
                jobs = _jobs(tar, member, stream, limits)
                documents = _documents(jobs, place, lost, observer)
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


def _jobs(
    tar: tarfile.TarFile, member: tarfile.TarInfo, stream: ByteStream, limits: ContentLimits
) -> Iterator[_Job]:
    """The blocks of a member, and last of all its failure, if it cannot be read to its end."""
    name, longest = clean_label(member.name), limits.line_bytes
    try:
        file = tar.extractfile(member)
        if file is None or member.issparse():
            raise MemberError("corrupt_frame")
        for row, data in read_blocks(cast(BinaryIO, file), limits):
            yield _Job(name, row, data, longest, stream.position)
    except MemberError as error:
        yield _Job(name, 0, b"", longest, stream.position, failure=str(error))


def _documents(
    jobs: Iterator[_Job], place: str, lost: Lost, observer: Observer
) -> Iterator[Document]:
    """The documents of all jobs in order; what is lost is counted where it stood among them."""
    for job, documents in in_order(_run, jobs, _AHEAD):
        lost.archive_bytes = job.position
        for document in documents:
            if isinstance(document, str):
                lost.reasons[document] += 1
            else:
                yield document
        if job.failure:
            lost.reasons[job.failure] += 1
            lost.members += 1
            message = f"{place}: {job.member}: {job.failure}: the rest of it is left out"
            observer.say(message, "warning")


def _run(job: _Job) -> _Done:
    if job.data is None:
        return _Done(job, ["line_too_long"])
    if not job.data:
        return _Done(job, [])
    return _Done(job, read_pages(job.data, job.member, job.row, job.longest))


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
