from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from corpus_sources import MakeArchive, MakePg19, documents_of

from perigee.corpus.documents import SPLITS, Limits
from perigee.corpus.near_duplicates import NearDuplicates, shingles
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19
from perigee.corpus.unify import build_unified

THRESHOLD = 0.8


def text(seed: int, words: int = 300) -> str:
    numbers = random.Random(seed)
    return " ".join(f"w{numbers.randrange(5000)}" for _ in range(words))


def changed(original: str, words: int, seed: int = 0) -> str:
    """``original`` with so many words replaced."""
    numbers, kept = random.Random(seed), original.split(" ")
    for place in numbers.sample(range(len(kept)), words):
        kept[place] = f"changed{place}"
    return " ".join(kept)


def jaccard(one: str, other: str) -> float:
    """From the sets themselves, by slices of the words."""
    sets = []
    for each in (one, other):
        words = each.lower().split(" ")
        sets.append({tuple(words[n : n + 5]) for n in range(max(len(words) - 4, 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_shingles_are_all_runs_of_five_words_in_lower_case() -> None:
    assert shingles("A b C d e Ü".encode()) == [b"a b c d e", "b c d e ü".encode()]
    assert shingles(b"One two") == [b"one two"]
    assert shingles(b"a b c d e") == [b"a b c d e"]


@pytest.mark.parametrize("words", [0, 1, 3, 8, 30, 150])
def test_the_estimate_is_near_the_share_in_common(words: int) -> None:
    near, original = NearDuplicates(THRESHOLD, seed=1), text(words)
    other = changed(original, words)
    one, two = near.sketch(original.encode()), near.sketch(other.encode())
    # Standard deviation of 128 values: at most 0.044; the bound is three of them.
    assert one.jaccard(two) == pytest.approx(jaccard(original, other), abs=0.135)


def test_it_holds_what_is_alike_and_nothing_else() -> None:
    near = NearDuplicates(THRESHOLD, seed=1)
    originals = [text(seed) for seed in range(200)]
    for original in originals:
        assert not near.holds(near.sketch(original.encode()))
        near.add(near.sketch(original.encode()))
    for original in originals:
        assert near.holds(near.sketch(original.upper().encode()))
        assert near.holds(near.sketch(changed(original, 2).encode()))  # 0.93 in common
        assert not near.holds(near.sketch(changed(original, 40).encode()))  # about 0.35


@pytest.fixture
def corpora(make_pg19: MakePg19, make_archive: MakeArchive, tmp_path: Path) -> Path:
    """Texts 0 to 5 are books, 10 to 15 pages; some of train are nearly those of others."""
    out = tmp_path / "out"
    root = make_pg19(
        train=[[changed(text(2), 1), text(3), changed(text(3), 2), text(4), text(5)]],
        valid=[[text(1)]],
        test=[[text(2)]],
    )
    pages = [changed(text(1), 1), text(10), changed(text(4), 1), text(11), text(12)]
    pages += [text(13), changed(text(2), 3), text(14)]
    build_pg19(root, out, Limits(0, 0, 0))
    build_openwebtext2(str(make_archive({"m.jsonl.zst": pages})), out, Limits(5, 1, 2))
    return out


def lines(out: Path) -> dict[str, list[str]]:
    return {split: documents_of(out / f"unified.{split}.raw") for split in SPLITS}


def test_later_texts_give_way_within_and_across_splits_and_sources(corpora: Path) -> None:
    built = build_unified(corpora, near_duplicates=THRESHOLD, seed=3)
    assert lines(corpora) == {
        "test": [text(2), text(14)],
        "valid": [text(1), text(13)],
        # Its first page is nearly a text of valid, its first book one of test; two more give way
        # to texts of train, one of them to one of the other source.
        "train": [text(3), text(10), text(4), text(11), text(5), text(12)],
    }
    dropped = {split: built[split].manifest.dropped["near_duplicate"] for split in SPLITS}
    assert dropped == {"test": 1, "valid": 0, "train": 4}
    by_source = built["train"].manifest.counts["by_source"]
    assert [by_source[s]["near_duplicates"] for s in ("pg19", "openwebtext2")] == [2, 2]
    for counts in by_source.values():
        accounted = ("documents", "duplicates", "near_duplicates", "surplus")
        assert counts["available"] == sum(counts[name] for name in accounted)


def test_a_reused_split_is_remembered_as_a_built_one(corpora: Path) -> None:
    build_unified(corpora, near_duplicates=THRESHOLD, seed=3)
    before = lines(corpora)
    for path in corpora.glob("unified.train.*"):
        path.unlink()
    built = build_unified(corpora, near_duplicates=THRESHOLD, seed=3)
    assert [built[split].reused for split in SPLITS] == [False, True, True]
    assert lines(corpora) == before


def test_off_it_changes_neither_texts_nor_recipes(corpora: Path) -> None:
    built = build_unified(corpora)
    assert len(lines(corpora)["train"]) == 10
    assert built["train"].manifest.settings == {
        "split": "train",
        "sources": ["pg19", "openwebtext2"],
        "mixture": "documents",
    }
    assert "near_duplicate" not in built["train"].manifest.dropped


def test_threshold_and_seed_are_part_of_the_recipe(corpora: Path) -> None:
    recipes = set()
    for threshold, seed in ((0.8, 3), (0.7, 3), (0.8, 4), (0.8, 3)):
        built = build_unified(corpora, near_duplicates=threshold, seed=seed)
        recipes.add(built["train"].manifest.recipe)
        written = json.loads((corpora / "unified.train.manifest.json").read_text())
        assert written["settings"]["near_duplicates"]["threshold"] == threshold
    assert len(recipes) == 3
