"""Files that live only as long as the work that needs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perigee.files import partial_path


@contextmanager
def scratch_directory(near: Path) -> Iterator[Path]:
    """An empty directory beside ``near``, removed afterwards; a kill leaves a partial."""
    directory = partial_path(near.with_name(f"{near.name}.scratch"))
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
