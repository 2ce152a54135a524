"""A new shard, from the sensor's tick to a checkpoint of a new lineage; without one, no run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_project import SETTINGS, make_root

from assets.names import checkpoint_key
from assets.settings_file import SettingsFile
from perigee.config import load_settings
from perigee.corpus.documents import Limits
from perigee.corpus.embedded import build_embedded
from pipelines.definitions import build_definitions
from pipelines.sensors import new_source_data

ONE_EPOCH = SETTINGS.replace("epochs = 2", "epochs = 1").replace("_limit = 4", "_limit = 0")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root whose settings name shards and an archive in it."""
    for name in [n for n in os.environ if n.startswith(("PERIGEE_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    books = build_embedded(tmp_path / "books", Limits(4, 1, 1), words=10_000).pg19_root
    # pages enough for one book more, since both make half of the corpus
    pages = build_embedded(tmp_path / "pages", Limits(8, 1, 1), words=10_000).archive
    named = f'pg19_root = "{books}"\nopenwebtext2 = "{pages}"\n'
    (tmp_path / "root").mkdir()
    make_root(tmp_path / "root", ONE_EPOCH.replace("embedded_words = 10000\n", named))
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setenv("PERIGEE_CONFIG", "tiny.toml")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "root"))  # of the process that trains
    return tmp_path / "root"


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (directory := tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(directory)) as instance:
        yield instance


class Operation:
    """The sensor with its cursor, and the runs that it asks for, as the daemon keeps them going."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor: str | None = None
        definitions = build_definitions(load_settings())
        self._job = definitions.resolve_job_def("train_perigee")
        graph = definitions.resolve_asset_graph()
        self._wanted = dg.AssetSelection.assets(checkpoint_key(1)).upstream().resolve(graph)

    def tick(self) -> int:
        """Look at the sources; how many runs that started."""
        outcome = new_source_data(
            dg.build_sensor_context(
                instance=self._instance,
                cursor=self._cursor,
                resources={"settings_file": SettingsFile()},
            )
        )
        if isinstance(outcome, dg.SkipReason):
            return 0
        assert isinstance(outcome, dg.SensorResult)
        self._cursor = outcome.cursor
        for _ in outcome.run_requests or []:
            self.train()
        return len(outcome.run_requests or [])

    def train(self) -> None:
        """The job, as far as the checkpoint."""
        result = self._job.execute_in_process(
            instance=self._instance, asset_selection=sorted(self._wanted)
        )
        assert result.success

    def version(self) -> str:
        """The data version of the checkpoint."""
        event = self._instance.get_latest_materialization_event(checkpoint_key(1))
        assert event is not None
        assert event.asset_materialization is not None
        return (event.asset_materialization.tags or {})["dagster/data_version"]


def add_shard(root: Path) -> None:
    """One more book, in a shard of its own."""
    book = {
        "short_book_title": "The Moon",
        "publication_date": 1865,
        "url": "http://books.example/moon",
        "text": "Perigee is where the moon comes near. " * 200,
    }
    first = min(root.glob("train-*.parquet"))
    table = pa.Table.from_pylist([book], schema=pq.read_schema(first))
    pq.write_table(table, root / "train-99999-of-99999.parquet")


def test_a_new_shard_gives_one_run_and_a_new_lineage(
    root: Path, on_disk: dg.DagsterInstance
) -> None:
    operation = Operation(on_disk)
    operation.train()
    first = operation.version()
    assert operation.tick() == 0  # what is there is remembered
    assert operation.tick() == 0
    settings = load_settings()
    add_shard(Path(settings.data.pg19_root))
    assert operation.tick() == 1
    assert operation.tick() == 0
    assert operation.version() != first
    earlier = [p.name for p in Path(settings.training.checkpoint_dir).glob("*_earlier*")]
    assert len(earlier) == 1  # the first lineage is kept
