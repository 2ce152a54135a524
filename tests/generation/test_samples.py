from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from generation_toys import small_settings
from PIL import Image

from perigee.errors import CheckpointError, GenerationError
from perigee.generation.likelihood import log_likelihood
from perigee.generation.request import Remasking, Request
from perigee.generation.sampler import NEVER_DRAWN
from perigee.generation.samples import build_samples, request_for
from perigee.generation.session import locate_checkpoint, newest_checkpoint, open_session
from perigee.manifest import read_manifest, verify_files
from perigee.observer import ListObserver
from perigee.settings import GenerationSettings

FILES = {"samples.txt", "frames.txt", "samples.gif", "samples.html", "samples.json"}


def test_all_views_with_their_manifest(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path, prompts=("Gallia prepares", "the moon"), seed=4)
    checkpoint = make_checkpoint(settings)
    built = build_samples(settings, checkpoint)
    directory = settings.samples_path()
    assert not built.reused
    assert {path.name for path in directory.iterdir()} == {*FILES, "manifest.json"}
    manifest = read_manifest(directory / "manifest.json")
    verify_files(directory / "manifest.json", manifest)
    assert built.manifest == manifest
    (source,) = manifest.inputs
    assert source.version == read_manifest(checkpoint / "manifest.json").version
    assert (directory / source.manifest).resolve() == checkpoint / "manifest.json"
    assert manifest.counts["texts"] == 4

    record = json.loads((directory / "samples.json").read_text())
    texts = (directory / "samples.txt").read_text().strip().split("\n\n")
    assert [sample["text"] for sample in record["samples"]] == texts
    assert texts[0].startswith("Gallia prepares")
    assert "'prepares'" in record["samples"][0]["warnings"][0]
    assert record["samples"][0]["seed"] == 4
    assert record["checkpoint"]["version"] == source.version
    frames = (directory / "frames.txt").read_text()
    assert frames.count("step 4 of 4") == 2
    with Image.open(directory / "samples.gif") as image:
        assert image.n_frames == 10


def test_the_recorded_likelihood_is_exact(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path, prompts=("the moon",), batch=3)
    checkpoint = make_checkpoint(settings)
    build_samples(settings, checkpoint)
    record = json.loads((settings.samples_path() / "samples.json").read_text())
    session = open_session(checkpoint, use_gpu=False)
    trajectory = session.sample(Request("the moon", steps=4, length=12, batch=3))
    last = trajectory.frames[-1]
    again = log_likelihood(
        session.checkpoint.denoiser,
        np.where(last.is_masked, 5, last.token_ids),
        steps=4,
        is_given=np.broadcast_to(trajectory.wording.is_prompt, (3, 12)),
        forbidden=NEVER_DRAWN,
        ends=True,
        end_from=2,
    )
    recorded = [sample["log_likelihood"] for sample in record["samples"]]
    np.testing.assert_allclose(recorded, again, atol=1e-4)
    assert [s["text"] for s in record["samples"]] == trajectory.texts


def test_a_sampler_without_a_likelihood_records_none(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path, sampler="ancestral")
    build_samples(settings, make_checkpoint(settings))
    record = json.loads((settings.samples_path() / "samples.json").read_text())
    assert {sample["log_likelihood"] for sample in record["samples"]} == {None}


def test_samples_are_reused_until_something_changes(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    checkpoint = make_checkpoint(settings)
    first = build_samples(settings, checkpoint)
    observer = ListObserver()
    again = build_samples(settings, checkpoint, observer)
    assert again.reused
    assert again.manifest == first.manifest
    assert "reused" in observer.messages[0][1]
    fresh = build_samples(settings, checkpoint, fresh=True)
    assert not fresh.reused
    assert fresh.manifest.version == first.manifest.version
    (settings.samples_path() / "samples.txt").write_text("edited")
    assert not build_samples(settings, checkpoint).reused
    other = small_settings(tmp_path, seed=1)
    assert not build_samples(other, checkpoint).reused
    assert build_samples(other, checkpoint).manifest.version != first.manifest.version


def test_a_prompt_that_does_not_fit_leaves_the_old_samples(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    checkpoint = make_checkpoint(settings)
    first = build_samples(settings, checkpoint)
    too_long = small_settings(tmp_path, prompts=("moon " * 60,))
    with pytest.raises(GenerationError, match="the prompt has 60 words; expected at most the 48"):
        build_samples(too_long, checkpoint)
    assert read_manifest(first.path) == first.manifest
    assert [p.name for p in settings.samples_path().parent.iterdir()] == ["perigee"]


def test_finding_checkpoints(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    with pytest.raises(CheckpointError, match="train first"):
        newest_checkpoint(settings)
    first, second = make_checkpoint(settings, 1), make_checkpoint(settings, 2)
    (first.parent / "perigee_epoch10").mkdir()  # unfinished: no manifest
    assert newest_checkpoint(settings) == second
    assert newest_checkpoint(settings, first) == first
    assert locate_checkpoint(first.parent) == second
    assert locate_checkpoint(first.with_suffix(".jls")) == first
    with pytest.raises(CheckpointError) as error:
        locate_checkpoint(tmp_path / "nothing.jls")
    for tried in ("nothing.jls/manifest.json", "nothing/manifest.json", "nothing.jls/*_epoch*"):
        assert tried in str(error.value)


def test_the_interface_for_notebooks(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    session = open_session(make_checkpoint(settings), use_gpu=False)
    trajectory = session.sample(Request("Gallia prepares for battle", steps=8, seed=7))
    assert trajectory.texts[0].startswith("Gallia prepares for battle ")
    assert session.window == 48
    assert trajectory.frames[0].token_ids.shape == (1, 48)


def test_every_setting_reaches_the_request() -> None:
    chosen = GenerationSettings(
        steps=9,
        sampler="remasking",
        temperature=0.7,
        top_p=0.8,
        top_k=11,
        certainty="margin",
        order_noise=0.5,
        remasking="loop",
        remasking_strength=0.3,
        no_repeat=2,
        block_length=13,
        length=44,
        batch=3,
        seed=5,
    )
    unset = {
        name
        for name, field in GenerationSettings.model_fields.items()
        if getattr(chosen, name) == field.default
    }
    assert unset == {"prompts"}
    request = request_for(chosen, "the moon")
    assert request == Request(
        "the moon",
        9,
        44,
        3,
        "remasking",
        "margin",
        0.5,
        Remasking("loop", 0.3),
        temperature=0.7,
        top_p=0.8,
        top_k=11,
        no_repeat=2,
        block_length=13,
        seed=5,
    )
