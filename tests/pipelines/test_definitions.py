"""The code location as a whole: it loads, and its graph is the one that was looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from graph_snapshot import SNAPSHOT, graph
from tiny_project import environment, make_root

from perigee.settings import Settings, TrainingSettings


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    from pipelines.definitions import build_definitions

    return build_definitions(Settings(training=TrainingSettings(epochs=2)))


def test_the_graph_is_as_accepted() -> None:
    assert graph() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_everything_resolves(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_every_asset_tells_what_it_is(definitions: dg.Definitions) -> None:
    for node in definitions.resolve_asset_graph().asset_nodes:
        assert node.description, node.key
        assert node.owners, node.key
        assert node.kinds, node.key
        if node.is_materializable and node.group_name != "sources":
            assert node.code_version, node.key
    for key in definitions.resolve_asset_graph().asset_check_keys:
        spec = definitions.resolve_asset_graph().get(key)
        assert spec.description, key


def test_as_many_epochs_as_the_settings_say(definitions: dg.Definitions) -> None:
    keys = {k.to_user_string() for k in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert {k for k in keys if k.startswith("checkpoint.")} == {
        "checkpoint.epoch_1",
        "checkpoint.epoch_2",
    }


def test_jobs_run_in_one_process_and_end_in_time(definitions: dg.Definitions) -> None:
    for name in (
        "train_perigee",
        "prepare_corpus",
        "smoke_perigee",
        "evaluate_perigee",
        "generate_samples",
    ):
        job = definitions.resolve_job_def(name)
        assert job.executor_def.name == "in_process"
        assert int(job.run_tags["dagster/max_runtime"]) >= 3600


def test_training_is_never_retried_and_holds_the_device(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("train_perigee")
    for node in job.all_node_defs:
        assert node.name not in ("train", "evaluation", "samples") or node.pool == "device"
    assert all(node.retry_policy is None for node in job.nodes)


def test_the_instance_has_one_slot_a_run(definitions: dg.Definitions) -> None:
    import yaml

    config = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
    assert config["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    assert config["telemetry"] == {"enabled": False}
    assert config["nux"] == {"enabled": False}
    assert config["run_monitoring"]["enabled"] is True


def test_dagster_finds_the_code_as_the_workspace_says(tmp_path: Path) -> None:
    """In a process of its own, with nothing in the environment but where it is."""
    root = make_root(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        cwd=root,
        env=environment(root, PYTHONPATH="", DAGSTER_HOME=str(root)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location perigee" in done.stdout + done.stderr
