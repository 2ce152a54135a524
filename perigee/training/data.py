"""What a training reads: windows of word ids, and the vocabulary they were made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perigee.errors import ArtifactError
from perigee.manifest import Input, verify_files
from perigee.settings import Settings
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.tokenizer.windows import Windows, manifest_path
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
        say, or if they were made with another vocabulary.
    """
    tokenizer = PrimeTokenizer.load(Path(settings.training.vocab_path))
    train, valid = (open_windows(settings, split, tokenizer) for split in ("train", "valid"))
    for windows in (train, valid):
        if len(windows) == 0:
            raise ArtifactError(
                "holds no windows",
                place=windows.path,
                remedy="take more documents ([data] train_limit, valid_limit)",
            )
    return TrainingData(train, valid, tokenizer)


def open_windows(settings: Settings, split: str, tokenizer: PrimeTokenizer) -> Windows:
    """The windows of one split, compared with their manifest; see :func:`open_data`."""
    path = settings.windows_path(split)
    windows = Windows.open(path)
    manifest = windows.manifest
    verify_files(manifest_path(path), manifest)
    if (own := windows.sequence_length) != (wanted := settings.training.sequence_length):
        raise ArtifactError(
            f"holds windows of {own} words",
            place=path,
            expected=f"{wanted} words ([training] sequence_length)",
            remedy="build the windows again",
        )
    made_with = {i.name: i.version for i in manifest.inputs}.get("vocabulary")
    if made_with != tokenizer.fingerprint:
        raise ArtifactError(
            "was made with another vocabulary",
            place=path,
            expected=f"that of {settings.training.vocab_path}",
            remedy="build the windows again",
        )
    return windows
