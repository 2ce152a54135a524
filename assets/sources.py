"""The sources as they stand: what they hold now is their data version."""

import dagster as dg

from assets.names import DATA_OWNERS, OPENWEBTEXT2_ARCHIVE, PG19_SHARDS, SOURCES
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee import stages
from perigee.files import fingerprint

SHARD_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("short_book_title", "string"),
        dg.TableColumn("publication_date", "int64"),
        dg.TableColumn("url", "string"),
        dg.TableColumn("text", "string"),
    ]
)


@dg.asset(
    key=PG19_SHARDS,
    group_name=SOURCES,
    kinds={"parquet"},
    owners=DATA_OWNERS,
    description=(
        "The parquet shards of PG-19 under `[data] pg19_root` or PERIGEE_PG19_ROOT, or the "
        "embedded sample written in their form. Data version: names and hashes of the shards."
    ),
    metadata={"dagster/column_schema": SHARD_COLUMNS},
)
def pg19_shards(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> dg.MaterializeResult:
    """Look at every shard; a new one makes what hangs on it stale."""
    from perigee.corpus.pg19 import pg19_inputs

    with watched(context) as observer:
        sources = stages.sources(settings_file.read(), observer)
        shards = pg19_inputs(sources.pg19_root)
        table = [
            dg.TableRecord({"shard": shard.name, "sha256": shard.version, **shard.details})
            for shard in shards
        ]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(fingerprint([[i.name, i.version] for i in shards])),
            metadata={
                "root": dg.MetadataValue.path(sources.pg19_root.absolute()),
                "embedded": "pg19" in sources.embedded,
                "shards": dg.MetadataValue.table(table),
            },
        )


@dg.asset(
    key=OPENWEBTEXT2_ARCHIVE,
    group_name=SOURCES,
    kinds={"tar"},
    owners=DATA_OWNERS,
    description=(
        "openwebtext2.jsonl.zst.tar, the URL or path of `[data] openwebtext2` or "
        "PERIGEE_OPENWEBTEXT2_URL, or the embedded sample written in its form. Data version: ETag "
        "and length, or the file's hash."
    ),
)
def openwebtext2_archive(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> dg.MaterializeResult:
    """Ask the server, or hash the file; a changed archive makes what hangs on it stale."""
    from perigee.corpus.openwebtext2 import archive_input

    with watched(context) as observer:
        sources = stages.sources(settings_file.read(), observer)
        archive = archive_input(sources.openwebtext2)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(archive.version),
            metadata={
                "archive": sources.openwebtext2,
                "embedded": "openwebtext2" in sources.embedded,
                **archive.details,
            },
        )
