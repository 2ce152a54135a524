"""What the corpora promise, read back from disk: counts, lines, balance, no leakage."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from assets.findings import Finding
from assets.names import raw_key
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee.corpus.documents import SPLITS, raw_paths
from perigee.manifest import read_manifest
from perigee.settings import Settings

COUNTS = "counts_as_asked"
LINES = "one_document_a_line"
BALANCE = "balanced"
LEAKAGE = "no_split_leakage"
BLOCK_BYTES = 1 << 22

CONTROLS = bytes(c for c in range(32) if c != ord("\n")) + b"\x7f"


def counts_as_asked(raw: Path) -> Finding:
    """As many documents as were asked for; fewer, because the source ends, is a warning."""
    counts = read_manifest(raw_paths(raw).manifest).counts
    documents, asked = counts["documents"], counts["requested"]
    shown = {"documents": documents, "asked": asked}
    if asked in ("all", documents):
        return Finding(metadata=shown)
    if documents > asked:
        return Finding(f"{documents} documents, but {asked} were asked for", shown)
    return Finding(f"{documents} documents of {asked}: the source holds no more", shown, warn=True)


def one_document_a_line(raw: Path) -> Finding:
    """Every line is one indexed document: no control characters, no empty line, none cut off."""
    index = pq.read_table(raw_paths(raw).index, columns=["bytes"])
    lines = controls = size = 0
    last = b"\n"
    with raw.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            lines += block.count(b"\n")
            controls += len(block) - len(block.translate(None, CONTROLS))
            size += len(block)
            last = block[-1:]
    lengths = index.column("bytes").to_numpy()
    shown = {"lines": lines, "indexed": index.num_rows, "control characters": controls}
    if last != b"\n":
        return Finding("the last line has no end", shown)
    if lines != index.num_rows:
        return Finding(f"{lines} lines, but {index.num_rows} documents in the index", shown)
    if size != lengths.sum() + lines or (lengths == 0).any():
        return Finding("the lines are not as long as the index says", shown)
    return Finding(f"{controls} control characters" if controls else "", shown)


def balanced(raw: Path) -> Finding:
    """As many books as web pages, to within one document."""
    sources = pq.read_table(raw_paths(raw).index, columns=["source"]).column("source")
    counts = {item["values"]: item["counts"] for item in sources.value_counts().to_pylist()}
    books, pages = counts.get("pg19", 0), counts.get("openwebtext2", 0)
    problem = "" if abs(books - pages) <= 1 else f"{books} books and {pages} web pages"
    return Finding(problem, {"books": books, "web pages": pages})


def no_split_leakage(raw: Path, others: list[Path]) -> Finding:
    """No text of ``raw`` is in one of the other splits."""
    texts = _digests(raw)
    shared = {other.name: len(texts & _digests(other)) for other in others}
    problem = ", ".join(f"{n} texts are in {name} too" for name, n in shared.items() if n)
    return Finding(problem, {"texts": len(texts), **shared})


def _digests(raw: Path) -> set[bytes]:
    column = pq.read_table(raw_paths(raw).index, columns=["sha256"]).column("sha256")
    return {bytes.fromhex(digest) for digest in column.to_pylist()}


def _source_specs() -> Iterator[dg.AssetCheckSpec]:
    for corpus in ("pg19", "openwebtext2"):
        for split in SPLITS:
            key = raw_key(corpus, split)
            yield dg.AssetCheckSpec(COUNTS, asset=key, description=counts_as_asked.__doc__)
            yield _lines_spec(key)


def _unified_specs() -> Iterator[dg.AssetCheckSpec]:
    for split in SPLITS:
        key = raw_key("unified", split)
        yield _lines_spec(key)
        yield dg.AssetCheckSpec(BALANCE, asset=key, description=balanced.__doc__)
        if split != "train":
            yield dg.AssetCheckSpec(
                LEAKAGE,
                asset=key,
                additional_deps=[raw_key("unified", other) for other in SPLITS if other != split],
                blocking=True,
                description=no_split_leakage.__doc__,
            )


def _lines_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        LINES, asset=key, blocking=True, description=one_document_a_line.__doc__
    )


# Two steps, because the unified documents wait for the blocking checks of their sources.
@dg.multi_asset_check(name="source_checks", specs=list(_source_specs()), can_subset=True)
def source_checks(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.AssetCheckResult]:
    """Look at the documents of each source."""
    yield from _results(context, settings_file)


@dg.multi_asset_check(name="unified_checks", specs=list(_unified_specs()), can_subset=True)
def unified_checks(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.AssetCheckResult]:
    """Look at the unified documents before anything is made from them."""
    yield from _results(context, settings_file)


def _results(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.AssetCheckResult]:
    with watched(context):
        settings = settings_file.read()
        for key in sorted(context.selected_asset_check_keys):
            corpus, split, _ = key.asset_key.to_user_string().split(".")
            yield _finding(settings, corpus, split, key.name).result(key, context)


def _finding(settings: Settings, corpus: str, split: str, check: str) -> Finding:
    raw = settings.raw_path(corpus, split)
    if check == COUNTS:
        return counts_as_asked(raw)
    if check == LINES:
        return one_document_a_line(raw)
    if check == BALANCE:
        return balanced(raw)
    others = [settings.raw_path(corpus, other) for other in SPLITS if other != split]
    return no_split_leakage(raw, others)
