from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perigee.errors import ArtifactError, CheckpointError
from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.training import evaluation
from perigee.training.evaluation import evaluate
from perigee.training.trainer import train_epochs
from perigee.training.unigram import count_words, unigram_likelihood

Make = Callable[..., Settings]


@pytest.fixture
def trained(make_training: Make) -> Settings:
    settings = make_training(epochs=2)
    list(train_epochs(settings))
    return settings


def test_every_figure_is_there_and_is_reused(trained: Settings) -> None:
    observer = ListObserver()
    built = evaluate(trained, trained.checkpoint_path(2), observer)
    report = json.loads(trained.evaluation_path().read_text())
    assert not built.reused
    assert {f.path for f in built.manifest.files} == {"perigee.json", "perigee.md"}
    assert [i.name for i in built.manifest.inputs] == [
        "checkpoint.epoch_2",
        "windows.train",
        "windows.test",
    ]
    assert report["checkpoint"]["steps"] == 10
    assert report["bound"]["standard_error"] > 0.0
    assert [s["steps"] for s in report["sampler"]] == [6, 16]
    for figures in (report["bound"], report["unigram"], *report["sampler"]):
        assert figures["perplexity"] == pytest.approx(math.exp(figures["nats_per_word"]))
        assert figures["words"] == report["words"]
    assert 0.0 <= report["unknown_share"] < 1.0
    table = trained.evaluation_path().with_suffix(".md").read_text()
    assert f"{report['bound']['nats_per_word']:.4f}" in table
    assert "| sampler, 16 steps | exact |" in table

    again = evaluate(trained, None, observer)
    assert again.reused
    assert again.manifest == built.manifest
    fresh = evaluate(trained, fresh=True)
    assert not fresh.reused
    assert fresh.manifest == built.manifest
    earlier = evaluate(trained, trained.checkpoint_path(1))
    assert not earlier.reused


def test_what_costs_too_much_is_left_out_and_said(
    trained: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SAMPLER_WORDS", 6 * 16 + 1)
    observer = ListObserver()
    evaluate(trained, None, observer)
    (figures,) = json.loads(trained.evaluation_path().read_text())["sampler"]
    assert (figures["steps"], figures["windows"], figures["standard_error"]) == (6, 1, None)
    assert "at 16 steps is left out: one window of 16 words takes 256" in observer.messages[0][1]


def test_without_a_checkpoint(make_training: Make) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        evaluate(make_training())


def test_with_another_vocabulary(trained: Settings) -> None:
    path = Path(trained.training.vocab_path)
    path.write_text(json.dumps([*json.loads(path.read_text()), "new"]))
    with pytest.raises(ArtifactError, match=r"is not the vocabulary that .* was trained with"):
        evaluate(trained)


def test_unigram_is_the_smoothed_frequency() -> None:
    """The oracle: word by word in Python."""
    train = np.array([[3, 5, 6, 6], [4, 0, 0, 0]], dtype=np.uint16)
    test = np.array([[5, 6, 0, 0], [2, 3, 4, 4], [6, 6, 5, 0]], dtype=np.uint16)
    counts = count_words(train, 8)
    report = unigram_likelihood(counts, test, smoothing=0.5)
    flat = [int(i) for i in train.ravel() if i != 0]
    nats = []
    for window in test:
        cost = [
            -math.log((flat.count(int(i)) + 0.5) / (len(flat) + 0.5 * 6)) for i in window if i != 0
        ]
        nats.append(cost)
    every = [c for cost in nats for c in cost]
    assert report.words == len(every) == 9
    assert report.nats_per_word == pytest.approx(sum(every) / 9)
    residuals = [sum(c) - report.nats_per_word * len(c) for c in nats]
    assert report.standard_error == pytest.approx(
        math.sqrt(sum(r * r for r in residuals) * 3 / 2) / 9
    )
    assert counts[0] == 3


def test_unigram_sums_to_one() -> None:
    counts = np.array([9, 9, 1, 4, 0, 7])
    costs = [
        unigram_likelihood(counts, np.array([[i, 0]], dtype=np.uint16)).nats_per_word
        for i in range(2, 6)
    ]
    assert sum(math.exp(-c) for c in costs) == pytest.approx(1.0)
