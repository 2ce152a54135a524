"""A loaded checkpoint to sample from, in a notebook, a REPL or a program.

::

    from perigee.generation.request import Request
    from perigee.generation.session import open_session

    session = open_session("artifacts/perigee/checkpoints/perigee_epoch8")
    trajectory = session.sample(Request("Gallia prepares for battle", steps=32, seed=7))
    print(trajectory.texts[0])
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from perigee.errors import CheckpointError
from perigee.generation.request import Request
from perigee.generation.sampler import sample
from perigee.generation.trajectory import Frame, Trajectory, Wording
from perigee.observer import SILENT, Observer
from perigee.settings import Settings
from perigee.tokenizer.residues import DigitCode, WordCode
from perigee.training.checkpoint import Checkpoint, load_checkpoint
from perigee.training.device import choose_device
from perigee.training.layout import MANIFEST, find_checkpoint

_EPOCH = re.compile(r"_epoch(\d+)$")


@dataclass(frozen=True)
class Session:
    """A denoiser with its tokenizer and settings, ready to sample."""

    checkpoint: Checkpoint

    @property
    def window(self) -> int:
        """Words that the denoiser sees at once."""
        return self.checkpoint.settings.training.sequence_length

    @property
    def code(self) -> WordCode | None:
        """How the model's glimpses divide a word; ``None`` for a model without glimpses."""
        moduli = self.checkpoint.denoiser.glimpse_moduli
        tokenizer = self.checkpoint.tokenizer
        if not moduli:
            return None
        match self.checkpoint.settings.diffusion.code:
            case "residues":
                return tokenizer.code(moduli)
            case "digits":
                return DigitCode(moduli[0], len(moduli), len(tokenizer))

    def sample(
        self,
        request: Request,
        observer: Observer = SILENT,
        *,
        on_frame: Callable[[Frame, Wording], None] | None = None,
    ) -> Trajectory:
        """Denoise a prompt; see :func:`perigee.generation.sampler.sample`."""
        if request.partial_fraction is None and request.sampler == "ancestral":
            trained = self.checkpoint.settings.training.unmask_fraction
            request = replace(request, partial_fraction=trained)
        return sample(
            self.checkpoint.denoiser,
            self.checkpoint.tokenizer,
            request,
            observer,
            window=self.window,
            code=self.code,
            on_frame=on_frame,
        )


def open_session(path: str | Path, *, use_gpu: bool = True, observer: Observer = SILENT) -> Session:
    """Load the checkpoint at ``path``: an epoch's directory, or the newest of those in it.

    Raises
    ------
    CheckpointError
        If there is none, or it is damaged; the line says what was tried.
    """
    device = choose_device(use_gpu, observer)
    return Session(load_checkpoint(locate_checkpoint(Path(path)), device=device.torch_device))


def newest_checkpoint(settings: Settings, path: str | Path | None = None) -> Path:
    """The directory of the checkpoint that ``path`` means, or of the settings' newest epoch.

    Of a directory of several trainings' epochs, those of the settings' name come first.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    if path is None:
        return find_checkpoint(settings)
    return locate_checkpoint(Path(path), settings.training.checkpoint_name)


def locate_checkpoint(path: Path, name: str = "") -> Path:
    """The checkpoint at ``path``: itself, without the original's ``.jls``, or its newest epoch.

    Epochs of the training called ``name`` come before others.

    Raises
    ------
    CheckpointError
        If there is none; the line lists what was tried.
    """
    tried = [path, path.with_suffix("")] if path.suffix == ".jls" else [path]
    for directory in tried:
        if (directory / MANIFEST).is_file():
            return directory
    trainings = _epochs(path)
    if trainings:
        return trainings.get(name) or max(trainings.values(), key=_epoch)
    places = [str(p / MANIFEST) for p in (*tried, path / "*_epoch*")]
    raise CheckpointError(
        "holds no checkpoint",
        place=path,
        expected=f"one of {', '.join(places)}",
        remedy="train first, or name an epoch's directory",
    )


def only_training(directory: Path) -> Path | None:
    """The newest epoch in ``directory`` if all that are there belong to one training."""
    trainings = _epochs(directory)
    return next(iter(trainings.values())) if len(trainings) == 1 else None


def _epochs(directory: Path) -> dict[str, Path]:
    """The newest whole epoch of each training in ``directory``, by the training's name."""
    epochs = [p for p in directory.glob("*_epoch*") if _EPOCH.search(p.name)]
    whole = [p for p in epochs if (p / MANIFEST).is_file()]
    return {_EPOCH.sub("", p.name): p for p in sorted(whole, key=_epoch)}


def _epoch(path: Path) -> tuple[int, str]:
    match = _EPOCH.search(path.name)
    assert match is not None
    return int(match[1]), path.name
