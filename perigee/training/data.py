"""What a training reads: windows of word ids, and the vocabulary they were made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perigee.errors import ArtifactError
from perigee.manifest import Input
from perigee.settings import Settings
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.tokenizer.windows import Windows
from perigee.training.recipe import windows_input


@dataclass(frozen=True)
class TrainingData:
    """Windows and vocabulary, checked to belong together."""

    train: Windows
    valid: Windows
    tokenizer: PrimeTokenizer

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What a checkpoint's manifest says of them."""
        return (
            windows_input("train", self.train.manifest),
            windows_input("valid", self.valid.manifest),
            Input("vocabulary", self.tokenizer.fingerprint),
        )


def open_data(settings: Settings) -> TrainingData:
    """The windows and the vocabulary of the settings.

    Raises
    ------
    ArtifactError
        If something is missing or damaged, if windows are of another length than the settings
        say, or if they hold ids that the vocabulary has not.
    """
    tokenizer = PrimeTokenizer.load(Path(settings.training.vocab_path))
    train, valid = (open_windows(settings, split, tokenizer) for split in ("train", "valid"))
    if len(train) == 0:
        raise ArtifactError(
            "holds no windows to train on",
            place=settings.windows_path("train"),
            remedy="take more documents ([data] train_limit) or shorter windows "
            "([training] sequence_length)",
        )
    return TrainingData(train, valid, tokenizer)


def open_windows(settings: Settings, split: str, tokenizer: PrimeTokenizer) -> Windows:
    """The windows of one split; see :func:`open_data`."""
    path = settings.windows_path(split)
    windows = Windows.open(path)
    tokens: NDArray[np.uint16] = windows.tokens
    length = settings.training.sequence_length
    if tokens.shape[1] != length:
        raise ArtifactError(
            f"holds windows of {tokens.shape[1]} words",
            place=path,
            expected=f"{length} words ([training] sequence_length)",
            remedy="build the windows again",
        )
    highest = int(tokens.max(initial=0))
    if highest >= len(tokenizer):
        raise ArtifactError(
            f"holds the word id {highest}",
            place=path,
            expected=f"ids below {len(tokenizer)}, the vocabulary's size",
            remedy="build the windows again with this vocabulary",
        )
    return windows
