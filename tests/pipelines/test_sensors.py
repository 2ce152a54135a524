"""Ticks of the schedule and of the sensors: no change, no run."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.utils import make_new_run_id

from assets.settings_file import SettingsFile
from perigee.config import load_settings
from perigee.errors import SettingsError
from pipelines.schedules import build_retraining
from pipelines.sensors import archive_state, new_source_data, pg19_state


@pytest.fixture
def sources(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with one shard, and an archive beside it, that the settings name."""
    root = project / "pg19"
    root.mkdir()
    (root / "train-0.parquet").write_bytes(b"shard")
    (project / "archive.tar").write_bytes(b"archive")
    (project / "s.toml").write_text('[data]\npg19_root = "pg19"\nopenwebtext2 = "archive.tar"\n')
    monkeypatch.setenv("PERIGEE_CONFIG", "s.toml")
    return project


def tick(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str | None, list[str | None]]:
    """The cursor after a tick, and the keys of the runs that it asks for."""
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"settings_file": SettingsFile()}
    )
    outcome = new_source_data(context)
    if isinstance(outcome, dg.SkipReason):
        return cursor, []
    assert isinstance(outcome, dg.SensorResult)
    return outcome.cursor, [request.run_key for request in outcome.run_requests or []]


def test_a_new_shard_starts_one_training(sources: Path, instance: dg.DagsterInstance) -> None:
    cursor, runs = tick(instance, None)
    assert cursor is not None
    assert runs == []  # what is there at first is not new
    assert tick(instance, cursor) == (cursor, [])
    (sources / "pg19" / "train-1.parquet").write_bytes(b"another")
    changed, runs = tick(instance, cursor)
    assert runs == [changed]
    assert changed != cursor
    assert tick(instance, changed) == (changed, [])


def test_a_changed_archive_starts_one_training(sources: Path, instance: dg.DagsterInstance) -> None:
    cursor, _ = tick(instance, None)
    (sources / "archive.tar").write_bytes(b"a longer archive")
    changed, runs = tick(instance, cursor)
    assert runs == [changed]


def test_embedded_sources_never_change(project: Path, instance: dg.DagsterInstance) -> None:
    (project / "configs").mkdir()
    (project / "configs" / "perigee_train.toml").write_text("")
    cursor, _ = tick(instance, None)
    (project / "train-9.parquet").write_bytes(b"x")
    assert tick(instance, cursor) == (cursor, [])


def test_a_root_that_is_gone_fails_the_tick(sources: Path, instance: dg.DagsterInstance) -> None:
    cursor, _ = tick(instance, None)
    (sources / "archive.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"archive\.tar"):
        tick(instance, cursor)


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    """Answers HEAD with an ETag that the test can change."""

    class Handler(http.server.BaseHTTPRequestHandler):
        etag = '"one"'

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", type(self).etag)
            self.send_header("Content-Length", "1000")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()

        def log_message(self, *_arguments: object) -> None:
            return None

    httpd = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_the_state_of_an_archive_on_a_server_is_its_etag(
    sources: Path, server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERIGEE_OPENWEBTEXT2_URL", f"http://127.0.0.1:{server.server_port}/a.tar")
    settings = load_settings()
    first = archive_state(settings)
    assert archive_state(settings) == first
    monkeypatch.setattr(server.RequestHandlerClass, "etag", '"two"')
    assert archive_state(settings) != first


def test_shards_are_told_apart_by_name_size_and_time(sources: Path) -> None:
    settings = load_settings()
    first = pg19_state(settings)
    (sources / "pg19" / "README.md").write_text("not a shard")
    assert pg19_state(settings) == first
    (sources / "pg19" / "train-0.parquet").write_bytes(b"shard, longer")
    assert pg19_state(settings) != first


def test_a_cron_that_is_none_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"retraining_cron is 'weekly'; expected five fields"):
        build_retraining("weekly")


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """What a schedule is given: an instance that another process can open too."""
    (directory := tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(directory)) as instance:
        yield instance


def schedule_tick(instance: dg.DagsterInstance) -> dg.RunRequest | None:
    """The run that the schedule asks for on a Sunday, if it does."""
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 4, 3, tzinfo=UTC),
        resources={"settings_file": SettingsFile()},
    )
    outcome = build_retraining("0 3 * * 0").evaluate_tick(context)
    requests = outcome.run_requests or []
    assert len(requests) == (0 if outcome.skip_message else 1)
    return requests[0] if requests else None


def ended_run(
    instance: dg.DagsterInstance, tags: Mapping[str, str], status: DagsterRunStatus
) -> None:
    """A run of the training that the schedule started has ended so."""
    run = dg.DagsterRun(job_name="train_perigee", run_id=make_new_run_id(), tags=dict(tags))
    instance.add_run(run.with_status(status))


def test_retraining_is_off_until_somebody_turns_it_on() -> None:
    assert build_retraining("0 3 * * 0").default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_week_without_a_change_trains_nothing(sources: Path, on_disk: dg.DagsterInstance) -> None:
    first = schedule_tick(on_disk)
    assert first is not None
    ended_run(on_disk, first.tags, DagsterRunStatus.FAILURE)
    assert schedule_tick(on_disk) is not None  # not done yet
    ended_run(on_disk, first.tags, DagsterRunStatus.SUCCESS)
    assert schedule_tick(on_disk) is None
    (sources / "pg19" / "train-1.parquet").write_bytes(b"another")
    second = schedule_tick(on_disk)
    assert second is not None
    ended_run(on_disk, second.tags, DagsterRunStatus.SUCCESS)
    assert schedule_tick(on_disk) is None


def test_other_settings_are_a_change(sources: Path, on_disk: dg.DagsterInstance) -> None:
    first = schedule_tick(on_disk)
    assert first is not None
    ended_run(on_disk, first.tags, DagsterRunStatus.SUCCESS)
    settings = sources / "s.toml"
    settings.write_text(settings.read_text() + "[training]\nseed = 7\n")
    assert schedule_tick(on_disk) is not None
