from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perigee import stages
from perigee.corpus.documents import raw_paths
from perigee.diffusion.spelling import fit_spelling
from perigee.errors import ArtifactError, CheckpointError
from perigee.generation.statistics import text_statistics
from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.tokenizer.prime import PAD, UNK, PrimeTokenizer
from perigee.tokenizer.windows import Windows
from perigee.tokenizer.words import split_words
from perigee.training import measures
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
        "unified.train.raw",
        "unified.test.raw",
    ]
    assert report["checkpoint"]["steps"] == 10
    assert report["bound"]["standard_error"] > 0.0
    assert [s["steps"] for s in report["sampler"]] == [6, 16]
    for figures in (report["bound"], report["unigram"], *report["sampler"]):
        assert figures["perplexity"] == pytest.approx(math.exp(figures["nats_per_word"]))
        assert figures["words"] == report["words"]
    assert 0.0 <= report["unknown_share"] < 1.0
    assert report["sources"] == {}
    assert report["whole_words"] is None
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


def write_index(settings: Settings, sources: list[str]) -> None:
    table = pa.table({"line": range(len(sources)), "source": pa.array(sources)})
    pq.write_table(table, raw_paths(settings.raw_path("unified", "test")).index)


@pytest.fixture
def two_sources(trained: Settings) -> list[str]:
    """Documents in turn from two sources, with words that no vocabulary holds; windows anew."""
    raw = trained.raw_path("unified", "test")
    lines = raw.read_text().splitlines()
    raw.write_text("".join(f"{line}, zq{i % 3} {line[:9]}\n" for i, line in enumerate(lines)))
    sources = [("pg19", "openwebtext2")[i % 2] for i in range(len(lines))]
    write_index(trained, sources)
    stages.build_windows(trained, "test")
    return sources


def test_every_figure_by_source_and_together(trained: Settings, two_sources: list[str]) -> None:
    """The oracle: words cut from the text document by document, and counted in Python."""
    evaluate(trained)
    report = json.loads(trained.evaluation_path().read_text())
    tokenizer = PrimeTokenizer.load(Path(trained.training.vocab_path))
    windows = Windows.open(trained.windows_path("test"))
    stream: list[tuple[str, str, bool]] = []  # word, source, whether white space is before it
    text = trained.raw_path("unified", "test").read_text()
    for line, source in zip(text.splitlines(), two_sources, strict=True):
        stream.append(("[BOS]", source, False))
        for between in line.split():
            words = split_words(between)
            stream += [(word, source, i == 0) for i, word in enumerate(words)]
        stream.append(("[EOS]", source, False))
    spoken = [stream[p] for s in windows.first_word for p in range(s, min(s + 16, len(stream)))]
    spans = sum(len({s for _, s, _ in stream[p : p + 16]}) > 1 for p in windows.first_word)
    assert spans > 0  # or nothing of this is tested

    train = Windows.open(trained.windows_path("train")).tokens
    frequency = np.bincount(train.ravel(), minlength=len(tokenizer)) + 1
    cost = -np.log(frequency / frequency[2:].sum())
    unseen = Counter(split_words(trained.raw_path("unified", "train").read_text()))
    spelling = fit_spelling({w: n for w, n in unseen.items() if w not in tokenizer.ids})
    assert set(report["sources"]) == {"pg19", "openwebtext2"}
    for names, own in (
        (("pg19",), report["sources"]["pg19"]),
        (("openwebtext2",), report["sources"]["openwebtext2"]),
        (("pg19", "openwebtext2"), report),
    ):
        words = [word for word, source, _ in spoken if source in names]
        unknown = [word for word in words if word not in tokenizer.ids]
        assert own["words"] == own["bound"]["words"] == own["unigram"]["words"] == len(words)
        assert own["unknown_share"] == pytest.approx(len(unknown) / len(words))
        ids = [tokenizer.ids.get(word, UNK) for word in words]
        assert own["unigram"]["nats_per_word"] == pytest.approx(cost[ids].mean())
        spelled = math.fsum(spelling.nats(word) for word in unknown)
        begun = sum(begins for _, source, begins in spoken if source in names)
        figure = own["open_vocabulary"]
        assert (figure["unknown_words"], figure["whitespace_words"]) == (len(unknown), begun)
        total = own["bound"]["nats_per_word"] * len(words) + spelled
        assert figure["nats_per_word"] == pytest.approx(total / begun)
    parts = report["sources"].values()
    together = sum(part["bound"]["nats_per_word"] * part["words"] for part in parts)
    assert together / report["words"] == pytest.approx(report["bound"]["nats_per_word"])
    assert sum(part["bound"]["windows"] for part in parts) == len(windows) + spans
    table = trained.evaluation_path().with_suffix(".md").read_text()
    for figure in (report["open_vocabulary"], report["sources"]["pg19"]["bound"]):
        assert f"{figure['nats_per_word']:.4f}" in table
    assert "| bound, web (OpenWebText2) | upper bound |" in table


def test_an_index_of_other_documents_is_refused(trained: Settings) -> None:
    write_index(trained, ["pg19"] * 2)
    with pytest.raises(ArtifactError, match=r"lists 2 documents; .* holds words of line"):
        evaluate(trained)


def test_without_the_documents_the_open_vocabulary_is_left_out_and_said(trained: Settings) -> None:
    trained.raw_path("unified", "train").unlink()
    observer = ListObserver()
    evaluate(trained, None, observer)
    report = json.loads(trained.evaluation_path().read_text())
    assert report["open_vocabulary"] is None
    assert "whitespace" not in trained.evaluation_path().with_suffix(".md").read_text()
    (warning,) = [message for level, message in observer.messages if level == "warning"]
    assert "unified.train.raw: the open-vocabulary figure is left out" in warning


def test_texts_stand_beside_as_many_real_ones_of_the_same_length(trained: Settings) -> None:
    evaluate(trained)
    texts = json.loads(trained.evaluation_path().read_text())["texts"]
    beginnings = Windows.open(trained.windows_path("test")).tokens
    beginnings = beginnings[(beginnings != PAD).all(axis=1)]
    assert texts["real"] == asdict(text_statistics(list(beginnings)))
    assert texts["drawn"]["texts"] == len(beginnings) > 1
    assert texts["drawn"]["words"] == texts["real"]["words"] == 16 * len(beginnings)
    assert texts["drawn"]["special_share"] == 0.0
    assert texts["request"]["length"] == 16
    table = trained.evaluation_path().with_suffix(".md").read_text()
    assert f"| {texts['drawn']['entropy']:.3f} |" in table


def test_parts_of_words_have_a_whole_word_bound_beside_their_own(make_training: Make) -> None:
    settings = make_training(epochs=1, unmask_fraction=0.5)
    list(train_epochs(settings))
    evaluate(settings)
    report = json.loads(settings.evaluation_path().read_text())
    assert report["bound"]["unmask_fraction"] == 0.5
    assert report["whole_words"]["unmask_fraction"] == 0.0
    assert report["whole_words"]["nats_per_word"] != report["bound"]["nats_per_word"]
    table = settings.evaluation_path().with_suffix(".md").read_text()
    assert (
        f"| bound, whole words masked | upper bound | {report['whole_words']['nats_per_word']:.4f}"
        in table
    )


def test_what_costs_too_much_is_left_out_and_said(
    trained: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "SAMPLER_WORDS", 6 * 16 + 1)
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
