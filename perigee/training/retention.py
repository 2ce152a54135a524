"""How long epochs keep their optimiser's state: half of a checkpoint's bytes or more.

Weights, averaged weights and results of every epoch stay, and so does its version: what was made
from it is current, and a training that is run again finds it standing. Only going on from it is
over, and that is why an epoch gives its state up after later ones stand.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perigee.errors import ArtifactError
from perigee.manifest import read_manifest, write_manifest
from perigee.settings import Settings
from perigee.training.layout import MANIFEST, OPTIMIZER, RELEASED, is_released


def release_optimizers(settings: Settings) -> list[Path]:
    """Drop the optimiser's state of old epochs; the checkpoints that gave it up now.

    An epoch keeps its own until the ``[training] kept_optimizers`` epochs after it stand, without
    a gap: an epoch that is missing is always trained from one that still has it.

    Raises
    ------
    OSError
        If the disk is full or cannot be written; what has been dropped by then is sound.
    """
    kept = settings.training.kept_optimizers
    if not kept:
        return []
    last = settings.training.epochs
    stands = {e for e in range(1, last + 1) if _manifest(settings, e).is_file()}
    old = [e for e in sorted(stands) if {*range(e + 1, e + kept + 1)} <= stands]
    return [settings.checkpoint_path(e) for e in old if _release(_manifest(settings, e))]


def _manifest(settings: Settings, epoch: int) -> Path:
    return settings.checkpoint_path(epoch) / MANIFEST


def _release(path: Path) -> bool:
    try:
        manifest = read_manifest(path)
    except ArtifactError:  # a damaged checkpoint is found, and named, where it is used
        return False
    if not is_released(manifest):
        # First the manifest: after a kill between the two, the file left over is no damage.
        write_manifest(path, replace(manifest, counts={**manifest.counts, RELEASED: True}))
    optimizer = path.with_name(OPTIMIZER)
    was_there = optimizer.exists()
    optimizer.unlink(missing_ok=True)
    return was_there
