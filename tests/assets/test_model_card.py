"""The model card: every figure from the artifacts, kept as long as they are the same."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from small_checkpoints import write_checkpoint
from small_corpora import write_corpora

from assets.generation import model_card
from assets.names import MODEL_CARD
from assets.settings_file import SettingsFile
from perigee.errors import ArtifactError
from perigee.files import write_json
from perigee.manifest import Manifest, record_file, write_manifest
from perigee.model_card import build_model_card
from perigee.settings import Settings


@pytest.fixture
def finished(settings: Settings) -> Settings:
    """Settings whose artifacts, from documents to samples, all stand."""
    write_corpora(settings)
    for epoch in (1, 2, 3):
        write_checkpoint(settings.checkpoint_path(epoch), epoch, 7.0 - epoch)
    report = settings.evaluation_path().with_suffix(".md")
    report.parent.mkdir(parents=True)
    report.write_text("# Evaluation\n\n| bound | 4.1234 |\n")
    files = [record_file(report, report.parent)]
    manifest = Manifest("evaluation", "evaluation", "1", {}, (), files, {})
    write_manifest(report.with_suffix(".manifest.json"), manifest)
    write_samples(settings, "and so it went")
    return settings


def write_samples(settings: Settings, text: str) -> None:
    path = settings.samples_path() / "samples.json"
    write_json(path, {"samples": [{"prompt": "Gallia", "text": text}]})
    files = [record_file(path, path.parent)]
    write_manifest(
        path.with_name("manifest.json"), Manifest("samples", "s", "1", {}, (), files, {})
    )


def test_it_tells_what_the_artifacts_tell(finished: Settings) -> None:
    build_model_card(finished)
    text = finished.model_card_path().read_text()
    assert "of 1,234 parameters, trained for 3 steps" in text
    assert "| 3 | 4.1000 | 4.0000 | 0.0100 | 54.6 |" in text
    assert "## Evaluation" in text
    assert "| bound | 4.1234 |" in text
    assert "> **Gallia** → and so it went" in text
    assert "| train | 4 | 20 | none |" in text
    assert "checkpoint.epoch_3" in text.partition("## Lineage")[2]
    assert str(Path.cwd()) not in text


def test_it_is_kept_until_something_changes(finished: Settings) -> None:
    first = build_model_card(finished)
    again = build_model_card(finished)
    assert (first.reused, again.reused) == (False, True)
    assert again.manifest == first.manifest
    write_samples(finished, "and otherwise")
    changed = build_model_card(finished)
    assert not changed.reused
    assert changed.manifest.version != first.manifest.version
    finished.model_card_path().write_text("edited")
    assert not build_model_card(finished).reused


def test_nothing_is_written_about_a_model_without_an_evaluation(finished: Settings) -> None:
    finished.evaluation_path().with_suffix(".manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json: no such file"):
        build_model_card(finished)
    assert not finished.model_card_path().exists()


def test_the_asset_shows_it(finished: Settings, instance: dg.DagsterInstance) -> None:
    result = dg.materialize(
        [model_card], instance=instance, resources={"settings_file": SettingsFile()}
    )
    assert result.success
    event = instance.get_latest_materialization_event(MODEL_CARD)
    assert event is not None
    shown = event.asset_materialization
    assert shown is not None
    assert str(shown.metadata["card"].value).startswith("# perigee\n")
