"""The sources' data versions: the same as long as nothing changed."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from assets.names import OPENWEBTEXT2_ARCHIVE, PG19_SHARDS
from assets.settings_file import SettingsFile
from assets.sources import openwebtext2_archive, pg19_shards


def write_shard(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    columns = {
        "short_book_title": [text],
        "publication_date": [1850],
        "url": ["http://127.0.0.1/book"],
        "text": [text],
    }
    pq.write_table(pa.table(columns), path)


def version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    """The data version of ``key`` after looking at the source once more."""
    asset = pg19_shards if key == PG19_SHARDS else openwebtext2_archive
    resources = {"settings_file": SettingsFile()}
    assert dg.materialize([asset], instance=instance, resources=resources).success
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.tags is not None
    return event.asset_materialization.tags["dagster/data_version"]


def test_a_new_shard_is_a_new_version(project: Path, instance: dg.DagsterInstance) -> None:
    for name in ("train-0", "validation-0", "test-0"):
        write_shard(project / "pg19" / f"{name}.parquet", name)
    first = version(instance, PG19_SHARDS)
    assert version(instance, PG19_SHARDS) == first
    write_shard(project / "pg19" / "train-1.parquet", "another")
    assert version(instance, PG19_SHARDS) != first


def test_another_archive_is_a_new_version(project: Path, instance: dg.DagsterInstance) -> None:
    (project / "archive.tar").write_bytes(b"one")
    first = version(instance, OPENWEBTEXT2_ARCHIVE)
    assert version(instance, OPENWEBTEXT2_ARCHIVE) == first
    (project / "archive.tar").write_bytes(b"two")
    assert version(instance, OPENWEBTEXT2_ARCHIVE) != first


def test_a_root_that_is_not_there_is_one_line(project: Path, instance: dg.DagsterInstance) -> None:
    result = dg.materialize(
        [pg19_shards],
        instance=instance,
        resources={"settings_file": SettingsFile()},
        raise_on_error=False,
    )
    error = result.get_step_failure_events()[0].event_specific_data.error
    assert "Failure: pg19: no such directory" in error.message
