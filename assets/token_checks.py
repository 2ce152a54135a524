"""What vocabulary and windows promise, read back from disk."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np

from assets.findings import Finding
from assets.names import VOCABULARY, windows_key
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee.corpus.documents import SPLITS
from perigee.files import read_json
from perigee.settings import Settings
from perigee.tokenizer.vocabulary_file import MASK, PAD, SPECIAL_TOKENS, UNK
from perigee.tokenizer.windows import Windows

SPECIALS = "size_and_specials"
SHAPE = "shape_and_ids"
UNKNOWN = "unknown_share"
MOST_UNKNOWN = 0.15
"""Share of [UNK] above which a model learns little of what it reads."""
ROWS_AT_A_TIME = 1024


def size_and_specials(vocab_path: Path, asked: int) -> Finding:
    """[PAD] [MASK] [UNK] [BOS] [EOS] first, then at most as many words as asked for, each once."""
    tokens = read_json(vocab_path)
    words = len(tokens) - len(SPECIAL_TOKENS)
    shown = {"words": words, "asked": asked, "special tokens": " ".join(SPECIAL_TOKENS)}
    if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        return Finding(f"begins with {' '.join(map(str, tokens[:5]))}", shown)
    if len(set(tokens)) != len(tokens):
        return Finding(f"{len(tokens) - len(set(tokens))} words stand there twice", shown)
    if words > asked:
        return Finding(f"{words} words, but {asked} were asked for", shown)
    if words < asked:
        return Finding(f"{words} words: the documents hold no more", shown, warn=True)
    return Finding(metadata=shown)


def shape_and_ids(windows: Windows, length: int, most: int, vocabulary_size: int) -> Finding:
    """As long and at most as many as asked for; ids of the vocabulary; [PAD] only at the end."""
    shown = {"windows": len(windows), "length": windows.sequence_length}
    if windows.sequence_length != length or (most and len(windows) > most) or not len(windows):
        return Finding(f"{len(windows)} x {windows.sequence_length}, not {most} x {length}", shown)
    for start in range(0, len(windows), ROWS_AT_A_TIME):
        ids = windows.tokens[start : start + ROWS_AT_A_TIME]
        if ids.max() >= vocabulary_size:
            return Finding(f"id {ids.max()} of {vocabulary_size}", shown)
        if (ids == MASK).any():
            return Finding("[MASK] stands among the words", shown)
        is_padding = ids == PAD
        if is_padding[:, 0].any() or (is_padding[:, :-1] & ~is_padding[:, 1:]).any():
            return Finding("[PAD] stands before a word", shown)
    return Finding(metadata=shown)


def unknown_share(windows: Windows) -> Finding:
    """Few enough words outside the vocabulary."""
    words = unknown = 0
    for start in range(0, len(windows), ROWS_AT_A_TIME):
        ids = windows.tokens[start : start + ROWS_AT_A_TIME]
        words += int(np.count_nonzero(ids != PAD))
        unknown += int(np.count_nonzero(ids == UNK))
    share = unknown / max(words, 1)
    problem = f"{share:.1%} of the words are [UNK]" if share > MOST_UNKNOWN else ""
    return Finding(problem, {"share": share, "words": words, "unknown": unknown}, warn=True)


@dg.asset_check(
    name=SPECIALS, asset=VOCABULARY, blocking=True, description=size_and_specials.__doc__
)
def vocabulary_check(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> dg.AssetCheckResult:
    """Look at the vocabulary before windows are made with it."""
    with watched(context):
        training = settings_file.read().training
        found = size_and_specials(Path(training.vocab_path), training.vocab_size)
        return found.result(dg.AssetCheckKey(VOCABULARY, SPECIALS), context)


def _windows_specs() -> Iterator[dg.AssetCheckSpec]:
    for split in SPLITS:
        key = windows_key(split)
        yield dg.AssetCheckSpec(SHAPE, asset=key, blocking=True, description=shape_and_ids.__doc__)
        yield dg.AssetCheckSpec(UNKNOWN, asset=key, description=unknown_share.__doc__)


@dg.multi_asset_check(name="windows_checks", specs=list(_windows_specs()), can_subset=True)
def windows_checks(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.AssetCheckResult]:
    """Look at the windows before anything is trained on them."""
    with watched(context):
        settings = settings_file.read()
        for key in sorted(context.selected_asset_check_keys):
            split = key.asset_key.to_user_string().rpartition(".")[2]
            yield _finding(settings, split, key.name).result(key, context)


def _finding(settings: Settings, split: str, check: str) -> Finding:
    training = settings.training
    windows = Windows.open(settings.windows_path(split))
    if check == UNKNOWN:
        return unknown_share(windows)
    most = training.max_sequences if split == "train" else training.max_valid_sequences
    vocabulary_size = len(read_json(Path(training.vocab_path)))
    return shape_and_ids(windows, training.sequence_length, most, vocabulary_size)
