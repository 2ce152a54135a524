"""The text of an epoch: made once, and again only for other weights or other settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from generation_toys import small_settings

from perigee.errors import GenerationError
from perigee.generation import epoch_text as module
from perigee.generation.epoch_text import epoch_text
from perigee.generation.samples import build_samples


def test_it_is_the_first_of_the_samples_and_kept(
    tmp_path: Path, make_checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(tmp_path, prompts=("the moon", "Gallia prepares"), batch=1)
    checkpoint = make_checkpoint(settings)
    text = epoch_text(settings, checkpoint)
    build_samples(settings, checkpoint)
    record = json.loads((settings.samples_path() / "samples.json").read_text())
    assert text == record["samples"][0]["text"]

    with monkeypatch.context() as patch:
        patch.setattr(module, "open_session", None)  # would fail if it were called
        assert epoch_text(settings, checkpoint) == text
    other = small_settings(tmp_path, prompts=("Gallia prepares",), batch=1)
    assert epoch_text(other, checkpoint).startswith("Gallia prepares")


def test_what_is_kept_but_damaged_is_made_again(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    checkpoint = make_checkpoint(settings)
    text = epoch_text(settings, checkpoint)
    (kept,) = settings.samples_path().parent.glob("*_epochs/*.json")
    for damage in ("{", "[]", '{"recipe": 1}'):
        kept.write_text(damage)
        assert epoch_text(settings, checkpoint) == text


def test_a_prompt_that_does_not_fit_is_refused(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path, prompts=("the moon " * 50,))
    with pytest.raises(GenerationError):
        epoch_text(settings, make_checkpoint(settings))
