"""Figures and texts that are worth something, and others."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.generation_checks import bound_below_unigram, generation_checks, not_degenerate
from assets.settings_file import SettingsFile
from perigee.files import write_json
from perigee.settings import Settings

TEXT = "the men of gaul went down to the river , and there they made a fire before night came ."


def test_the_bound_has_to_beat_the_frequencies_of_words() -> None:
    good = {"bound": {"nats_per_word": 4.0}, "unigram": {"nats_per_word": 6.5}}
    bad = {"bound": {"nats_per_word": 6.64}, "unigram": {"nats_per_word": 6.5}}
    assert bound_below_unigram(good).problem == ""
    assert bound_below_unigram(bad).problem == "the bound is 6.640, the unigram's 6.500"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TEXT, ""),
        ("the the the the [EOS] of men and women in the field", "a word stands 4 times in a row"),
        ("[PAD] gaul [MASK] men", "[MASK] [PAD] was generated"),
        ("[UNK] gaul prepares for", "25% of the words are [UNK]"),
        ("a b a b a b a b", "only 29% of the pairs differ"),
        ("", "there is no word"),
    ],
)
def test_texts(text: str, problem: str) -> None:
    finding = not_degenerate([text])
    assert finding.problem == problem
    assert finding.warn


def test_pairs_do_not_reach_from_text_to_text() -> None:
    assert not_degenerate(["to be", "or not"]).metadata["distinct-2"] == 1.0
    assert not_degenerate(["to be", "to be"]).metadata["distinct-2"] == 0.5


def test_both_in_the_graph(settings: Settings, instance: dg.DagsterInstance) -> None:
    figures = {"bound": {"nats_per_word": 7.0}, "unigram": {"nats_per_word": 6.5}}
    write_json(settings.evaluation_path(), figures)
    write_json(settings.samples_path() / "samples.json", {"samples": [{"text": TEXT}]})
    result = dg.materialize(
        [generation_checks],
        selection=dg.AssetSelection.all_asset_checks(),
        instance=instance,
        resources={"settings_file": SettingsFile()},
    )
    assert result.success  # a failing check of a finished training stops nothing
    passed = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
    assert passed == {"bound_below_unigram": False, "not_degenerate": True}
