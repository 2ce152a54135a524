from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perigee.errors import ArtifactError
from perigee.training.curve import curve_path, draw_curve


def write_log(path: Path, losses: list[float]) -> None:
    records = []
    for step, loss in enumerate(losses, 1):
        place = {"epoch": 1, "step": step}
        records.append({"event": "step", **place, "loss": loss, "learning_rate": 0.1})
    error = {"nats_per_word": 2.0, "standard_error": None}
    records.append({"event": "validation", "epoch": 1, "step": len(losses), **error})
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_curve_shows_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write_log(log, [3.0, 2.5, 2.2])
    picture = draw_curve(log)
    assert picture == curve_path(log) == tmp_path / "log.png"
    first = picture.read_bytes()
    with Image.open(picture) as image:
        assert image.size == (960, 600)
        colours = {tuple(c) for c in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert {(0x44, 0x77, 0xAA), (0xCC, 0x33, 0x11), (0x99, 0x99, 0x33)} <= colours
    draw_curve(log)
    assert picture.read_bytes() == first
    write_log(log, [3.0, 2.5, 9.0])
    assert draw_curve(log, tmp_path / "other.png").read_bytes() != first


def test_an_empty_log_has_no_curve(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no record"):
        draw_curve(tmp_path / "log.jsonl")
