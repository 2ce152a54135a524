"""What the UI shows of an artifact: taken from its manifest."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg

from perigee.manifest import Built, Manifest

PREVIEW_DOCUMENTS = 5
PREVIEW_CHARACTERS = 300

INDEX_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("line", "int64", description="Line of the .raw file, from 0"),
        dg.TableColumn("source", "string", description="pg19 or openwebtext2"),
        dg.TableColumn("shard", "string", description="Shard or member of the archive"),
        dg.TableColumn("row", "int64", description="Row of the shard, or line of the member"),
        dg.TableColumn("title", "string"),
        dg.TableColumn("url", "string"),
        dg.TableColumn("date", "string"),
        dg.TableColumn("words", "int64", description="Words between white space"),
        dg.TableColumn("bytes", "int64", description="Bytes of the line, without its end"),
        dg.TableColumn("sha256", "string", description="Of the line, without its end"),
    ]
)
"""The document index beside every .raw file."""


def materialized(
    key: dg.AssetKey,
    built: Built,
    shown: Mapping[str, Any] | None = None,
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """Report an artifact: its version as data version, its manifest as metadata.

    Dagster skips no step by itself; a step that found its work done reports the same version
    again, so that what hangs on it stays fresh, and says that it was reused.
    """
    shown = shown or {}
    counts = {k: v for k, v in built.manifest.counts.items() if isinstance(v, (int, float, str))}
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(built.manifest.version),
        metadata={
            "reused": built.reused,
            **shown,  # first, as the page shows it: what people come for
            **{k: v for k, v in counts.items() if k not in shown},
            **manifest_metadata(built.path, built.manifest),
        },
        tags={"perigee/reused": str(built.reused).lower()},
        check_results=checks,
    )


def manifest_metadata(path: Path, manifest: Manifest) -> dict[str, Any]:
    """Where the artifact lies, and from what, how and with which losses it was made."""
    files = [
        dg.TableRecord({"file": f.path, "bytes": f.bytes, "sha256": f.sha256})
        for f in manifest.files
    ]
    inputs = [dg.TableRecord({"input": i.name, "version": i.version}) for i in manifest.inputs]
    dropped = [dg.TableRecord({"reason": r, "documents": n}) for r, n in manifest.dropped.items()]
    shown: dict[str, Any] = {
        "manifest": dg.MetadataValue.path(path.absolute()),
        "settings": dg.MetadataValue.json(dict(manifest.settings)),
        "stage code version": manifest.code_version,
    }
    if manifest.files:
        shown["path"] = dg.MetadataValue.path((path.parent / manifest.files[0].path).absolute())
        shown["files"] = dg.MetadataValue.table(files)
    if inputs:
        shown["made from"] = dg.MetadataValue.table(inputs)
    if dropped:
        shown["dropped"] = dg.MetadataValue.table(dropped)
    return shown


def documents_preview(raw: Path) -> dg.MarkdownMetadataValue:
    """The beginnings of the first documents of a ``.raw`` file."""
    with raw.open(encoding="utf-8") as lines:
        heads = [line[:PREVIEW_CHARACTERS].rstrip() for line in islice(lines, PREVIEW_DOCUMENTS)]
    return dg.MetadataValue.md("\n".join(f"1. {head}" for head in heads))
