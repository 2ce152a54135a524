"""How many earlier trainings stay on disk."""

import shutil
from pathlib import Path

from perigee.files import partial_path
from perigee.observer import Observer
from perigee.settings import Settings


def drop_oldest_trainings(settings: Settings, observer: Observer) -> list[Path]:
    """Remove the earliest of the trainings that later ones have set aside; returns what went.

    The newest ``[operation] kept_trainings`` of them stay, and with 0 all of them.
    """
    directory, stem = Path(settings.training.checkpoint_dir), settings.checkpoint_stem
    earlier = [p for p in directory.glob(f"{stem}_earlier*") if p.is_dir()]
    earlier.sort(key=lambda path: path.stat().st_mtime_ns)
    kept = settings.operation.kept_trainings
    dropped = earlier[:-kept] if kept else []
    for path in dropped:
        rubbish = partial_path(path)  # renamed first: a kill leaves no half of a training
        path.rename(rubbish)
        shutil.rmtree(rubbish)
        observer.say(f"{path} is dropped: [operation] kept_trainings is {kept}")
    return dropped
