"""OpenWebText2: web pages in a tar of zstd-compressed JSON lines, to one page a line.

The archive knows no splits. They are taken from it in the order in which a stream gives them:
first the train-count documents, then the valid-count, then the test-count; reading ends there.
Only documents that are kept count. A text that was met before is dropped, so that what stands in
one split is in no other (within one stream, the first occurrence keeps its place).

With ``sampling="spread"`` the documents come evenly from all the monthly members instead, and
each split evenly from them.

One of the counts may be 0, for all: the splits before it get their first documents, those behind
it the last documents of the archive, and it all between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from perigee.corpus.answers import Patience
from perigee.corpus.bytestream import open_bytes
from perigee.corpus.documents import SPLITS, Document, Limits
from perigee.corpus.duplicates import SeenTexts
from perigee.corpus.frames import ContentLimits
from perigee.corpus.members import Lost, read_documents, read_spread_documents, unseen
from perigee.corpus.plan import Plan, report_shortfall, reuse
from perigee.corpus.writing import SplitWriter, open_split, output_lock
from perigee.errors import Interrupted, SettingsError
from perigee.manifest import Built, Input
from perigee.observer import SILENT, Observer

STAGE = "corpus.openwebtext2"
CODE_VERSION = "1"

_PROGRESS = 64
_FIRST_JUMP = 1 << 14

Sampling = Literal["first", "spread"]


def archive_input(
    source: str, *, patience: Patience | None = None, observer: Observer = SILENT
) -> Input:
    """Name and version of the archive: ETag and length of a URL, SHA-256 of a file.

    Raises
    ------
    SourceError
        If it cannot be reached.
    """
    with open_bytes(source, patience=patience, observer=observer) as stream:
        return stream.identify()


def build_openwebtext2(
    source: str,
    directory: Path,
    limits: Limits,
    *,
    sampling: Sampling = "first",
    content: ContentLimits | None = None,
    patience: Patience | None = None,
    fresh: bool = False,
    observer: Observer = SILENT,
) -> dict[str, Built]:
    """Write ``<directory>/openwebtext2.{train,valid,test}.raw`` with indices and manifests.

    Parameters
    ----------
    source:
        Path or URL of ``openwebtext2.jsonl.zst.tar``.
    sampling:
        ``first``: the first documents of the archive; ``spread``: documents of all its members,
        found by jumping from header to header (a server has to answer Range requests).
    content:
        Limits on what a member may hold.
    patience:
        Time-outs and retries.
    fresh:
        Build even what is there already.

    Raises
    ------
    SourceError
        If the archive cannot be reached, changes, is cut short or damaged. Files of an earlier
        build stay as they were.
    SettingsError
        If more than one split asks for everything, or one does with ``spread``.
    BusyError
        If another process builds the same files.
    """
    directory, content = Path(directory), content or ContentLimits()
    _check(limits, sampling)
    if sampling == "spread":
        patience = replace(patience or Patience(), first_request=_FIRST_JUMP, growth=1.0)
    lock = directory / ".openwebtext2.lock"
    with (
        output_lock(lock, f"the OpenWebText2 corpus in {directory}"),
        open_bytes(str(source), patience=patience, observer=observer) as stream,
    ):
        archive = stream.identify()
        plans = {s: _plan(directory, s, limits, sampling, content, archive) for s in SPLITS}
        # Without a version there is no telling whether it is still the same archive.
        again = fresh or not archive.details.get("versioned", True)
        reused = {} if again else reuse(plans, observer)
        if len(reused) == len(SPLITS):
            return reused
        lost = Lost()
        if sampling == "spread":
            count = sum(limits.of(split) for split in SPLITS)
            spread = read_spread_documents(stream, str(source), count, lost, content, observer)
            assigned = assign_evenly(spread, limits)
        else:
            documents = read_documents(stream, str(source), lost, content, observer)
            assigned = assign(unseen(documents, SeenTexts(), lost), limits)
        return _build(plans, limits, assigned, lost, observer)


def _check(limits: Limits, sampling: Sampling) -> None:
    everything = [split for split in SPLITS if limits.of(split) == 0]
    if everything and sampling == "spread":
        raise SettingsError(
            f"{everything[0]} asks for all documents, which cannot be spread",
            expected="numbers of documents",
            remedy="or sampling 'first'",
        )
    if len(everything) > 1:
        raise SettingsError(
            f"{' and '.join(everything)} both ask for all documents of OpenWebText2",
            expected="at most one 'all': the archive has no splits of its own",
            remedy="give numbers for the others",
        )


def _plan(
    directory: Path,
    split: str,
    limits: Limits,
    sampling: Sampling,
    content: ContentLimits,
    archive: Input,
) -> Plan:
    return Plan(
        raw=directory / f"openwebtext2.{split}.raw",
        artifact=f"openwebtext2.{split}.raw",
        stage=STAGE,
        code_version=CODE_VERSION,
        settings={
            "split": split,
            "limits": {name: limits.of(name) for name in SPLITS},
            "sampling": sampling,
            "line_bytes": content.line_bytes,
            "expansion": content.expansion,
            "free_bytes": content.free_bytes,
        },
        inputs=[archive],
    )


def _build(
    plans: Mapping[str, Plan],
    limits: Limits,
    assigned: Iterator[tuple[str, Document]],
    lost: Lost,
    observer: Observer,
) -> dict[str, Built]:
    last, losers = SPLITS[0], _losers(limits)
    with ExitStack() as stack:
        writers = {s: stack.enter_context(open_split(plan.raw)) for s, plan in plans.items()}
        for split, document in assigned:
            writer = writers[split]
            writer.add(document)
            if observer.should_stop():
                raise Interrupted("stopped as asked", place=writer.raw, remedy="run it again")
            if lost.reasons:
                writers[losers[split]].dropped.update(lost.take())
            if writer.documents % _PROGRESS == 0 or writer.documents == limits.of(split):
                total = limits.of(split) or None
                observer.progress(plans[split].artifact, writer.documents, total, "documents")
            last = split
        writers[losers[last]].dropped.update(lost.take())
    return {
        split: _commit(plan, writers[split], limits.of(split), lost, observer)
        for split, plan in plans.items()
    }


def _commit(plan: Plan, writer: SplitWriter, limit: int, lost: Lost, observer: Observer) -> Built:
    why = "the archive holds no more"
    if lost.members:
        why = f"{lost.members} members could not be read to their ends"
    short = report_shortfall(observer, plan.artifact, writer.documents, limit, why)
    counts = {
        "requested": limit or "all",
        "complete": not short and not (limit == 0 and lost.members),
        "damaged_members": lost.members,
        "archive_bytes_read": lost.archive_bytes,
    }
    return plan.commit(writer, counts)


def _losers(limits: Limits) -> dict[str, str]:
    """The split in whose manifest a loss is counted, by the split of the next document."""
    openended = _openended(limits)
    if openended is None:
        return {split: split for split in SPLITS}
    first = SPLITS.index(openended)
    return {split: SPLITS[min(number, first)] for number, split in enumerate(SPLITS)}


def _openended(limits: Limits) -> str | None:
    return next((split for split in SPLITS if limits.of(split) == 0), None)


def assign(documents: Iterator[Document], limits: Limits) -> Iterator[tuple[str, Document]]:
    """Documents with their splits; no document is drawn beyond the last one that is given out.

    Documents behind an unlimited split are held back in memory, as many as the later splits ask
    for.
    """
    openended = _openended(limits)
    head = SPLITS[: SPLITS.index(openended)] if openended else SPLITS
    for split in head:
        for document in islice(documents, limits.of(split)):
            yield split, document
    if openended is None:
        return
    tail = SPLITS[len(head) + 1 :]
    held: deque[Document] = deque()
    size = sum(limits.of(split) for split in tail)
    for document in documents:
        held.append(document)
        if len(held) > size:
            yield openended, held.popleft()
    for split in tail:
        for _ in range(min(limits.of(split), len(held))):
            yield split, held.popleft()


def assign_evenly(documents: Iterator[Document], limits: Limits) -> Iterator[tuple[str, Document]]:
    """Documents with their splits: each goes to the split that lacks the largest share of its own.

    So every split is spread over the stream as the others are, whatever their sizes.
    """
    filled = dict.fromkeys(SPLITS, 0)
    for document in islice(documents, sum(limits.of(split) for split in SPLITS)):
        split = min(SPLITS, key=lambda s: (filled[s] + 0.5) / limits.of(s))
        filled[split] += 1
        yield split, document
