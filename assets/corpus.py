"""Shards and archive to documents: PG-19, OpenWebText2, and both alternating."""

from collections.abc import Iterator, Mapping

import dagster as dg

from assets import code_versions
from assets.names import (
    CORPUS,
    DATA_OWNERS,
    OPENWEBTEXT2_ARCHIVE,
    PG19_SHARDS,
    raw_key,
)
from assets.results import INDEX_COLUMNS, documents_preview, materialized
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee import stages
from perigee.corpus.documents import PRECEDENCE, SPLITS
from perigee.manifest import Built
from perigee.settings import Settings


def _specs(
    corpus: str, what: str, code_version: str, deps: Mapping[str, list[dg.AssetKey]]
) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            raw_key(corpus, split),
            deps=deps[split],
            group_name=CORPUS,
            code_version=code_version,
            kinds={"duckdb", "parquet"} if corpus == "pg19" else {"text", "parquet"},
            owners=DATA_OWNERS,
            description=(
                f"{what}, {split} split: one document a line in `{corpus}.{split}.raw`, with the "
                "document index (parquet) and the manifest (JSON) beside it."
            ),
            metadata={"dagster/column_schema": INDEX_COLUMNS},
        )
        for split in SPLITS
    ]


def _results(
    context: dg.AssetExecutionContext, settings: Settings, corpus: str, built: Mapping[str, Built]
) -> Iterator[dg.MaterializeResult]:
    """The splits that were selected; all three are written together, none of them twice."""
    for split in SPLITS:
        if raw_key(corpus, split) not in context.selected_asset_keys:
            continue
        rows = built[split].manifest.counts["documents"]
        preview = documents_preview(settings.raw_path(corpus, split))
        shown = {"dagster/row_count": rows, "preview": preview}
        yield materialized(raw_key(corpus, split), built[split], shown)


@dg.multi_asset(
    name="pg19_raw",
    can_subset=True,
    specs=_specs(
        "pg19", "Books of PG-19", code_versions.PG19, {split: [PG19_SHARDS] for split in SPLITS}
    ),
)
def pg19_raw(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.MaterializeResult]:
    """Read the shards with DuckDB, a batch at a time, and write one book a line."""
    with watched(context) as observer:
        settings = settings_file.read()
        yield from _results(context, settings, "pg19", stages.build_pg19(settings, observer))


@dg.multi_asset(
    name="openwebtext2_raw",
    can_subset=True,
    specs=_specs(
        "openwebtext2",
        "Web pages of OpenWebText2",
        code_versions.OPENWEBTEXT2,
        {split: [OPENWEBTEXT2_ARCHIVE] for split in SPLITS},
    ),
)
def openwebtext2_raw(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.MaterializeResult]:
    """Stream the archive, as many bytes as the counts need, and write one page a line."""
    with watched(context) as observer:
        settings = settings_file.read()
        yield from _results(
            context, settings, "openwebtext2", stages.build_openwebtext2(settings, observer)
        )


@dg.multi_asset(
    name="unified_raw",
    can_subset=True,
    specs=_specs(
        "unified",
        "Books and web pages alternating, 50/50, without exact duplicates",
        code_versions.UNIFY,
        {
            split: [
                raw_key(corpus, earlier)
                for earlier in PRECEDENCE[: PRECEDENCE.index(split) + 1]
                for corpus in ("pg19", "openwebtext2")
            ]
            for split in SPLITS
        },
    ),
)
def unified_raw(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.MaterializeResult]:
    """Alternate the two corpora document by document; no text of valid or test is in train."""
    with watched(context) as observer:
        settings = settings_file.read()
        yield from _results(context, settings, "unified", stages.build_unified(settings, observer))
