"""Each promise of vocabulary and windows, kept once and broken once."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from small_corpora import write_corpora

from assets.settings_file import SettingsFile
from assets.token_checks import (
    shape_and_ids,
    size_and_specials,
    unknown_share,
    vocabulary_check,
    windows_checks,
)
from perigee import stages
from perigee.files import write_json
from perigee.settings import Settings
from perigee.tokenizer.windows import Windows

SPECIALS = ["[PAD]", "[MASK]", "[UNK]", "[BOS]", "[EOS]"]
PAD, MASK, UNK, BOS, EOS = range(5)


def windows(*rows: list[int]) -> Windows:
    """Windows that stand in no file."""
    nowhere = np.zeros(len(rows), dtype=np.int64)
    tokens = np.array(rows, dtype=np.uint16).reshape(len(rows), -1)
    return Windows(Path("none.arrow"), tokens, nowhere, nowhere, nowhere)


@pytest.mark.parametrize(
    ("tokens", "problem", "warn"),
    [
        ([*SPECIALS, "the", "of"], "", False),
        ([*SPECIALS, "the"], "1 words: the documents hold no more", True),
        ([*SPECIALS, "the", "of", "a"], "3 words, but 2 were asked for", False),
        ([*SPECIALS, "the", "the"], "1 words stand there twice", False),
        (["[MASK]", "[PAD]", *SPECIALS[2:], "the", "of"], "begins with [MASK] [PAD] [UNK]", False),
    ],
)
def test_vocabulary(tmp_path: Path, tokens: list[str], problem: str, warn: bool) -> None:
    write_json(tmp_path / "vocab.json", tokens)
    finding = size_and_specials(tmp_path / "vocab.json", 2)
    assert finding.problem.startswith(problem)
    assert bool(finding.problem) == bool(problem)
    assert finding.warn == warn


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([[BOS, 5, 6, EOS], [7, EOS, PAD, PAD]], ""),
        ([[BOS, 5, 6], [7, EOS, PAD]], "2 x 3, not 2 x 4"),
        ([[BOS, 5, 6, EOS]] * 3, "3 x 4, not 2 x 4"),
        ([[BOS, 5, 9, EOS]], "id 9 of 8"),
        ([[BOS, MASK, 6, EOS]], "[MASK] stands among the words"),
        ([[BOS, PAD, 6, EOS]], "[PAD] stands before a word"),
        ([[PAD, PAD, PAD, PAD]], "[PAD] stands before a word"),
    ],
)
def test_windows(rows: list[list[int]], problem: str) -> None:
    assert shape_and_ids(windows(*rows), length=4, most=2, vocabulary_size=8).problem == problem


def test_unknown_words() -> None:
    few = unknown_share(
        windows([BOS, 5, 6, 7, 5, 6, EOS, UNK], [5, EOS, PAD, PAD, PAD, PAD, PAD, PAD])
    )
    assert few.problem == ""
    assert few.metadata == {"share": 0.1, "words": 10, "unknown": 1}
    many = unknown_share(windows([BOS, UNK, 5, EOS]))
    assert many.problem == "25.0% of the words are [UNK]"
    assert many.warn


def test_all_of_them_in_the_graph(settings: Settings, instance: dg.DagsterInstance) -> None:
    write_corpora(settings)
    stages.prepare(settings)
    result = dg.materialize(
        [vocabulary_check, windows_checks],
        selection=dg.AssetSelection.all_asset_checks(),
        instance=instance,
        resources={"settings_file": SettingsFile()},
    )
    checks = {
        f"{c.asset_key.to_user_string()} {c.check_name}": c
        for c in result.get_asset_check_evaluations()
    }
    assert len(checks) == 7
    short = checks.pop("vocabulary size_and_specials")
    assert not short.passed
    assert short.severity == dg.AssetCheckSeverity.WARN
    assert all(c.passed for c in checks.values() if c.check_name == "shape_and_ids")
