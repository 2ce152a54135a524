from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from perigee.settings import Settings, TrainingSettings
from pipelines.definitions import build_definitions
from pipelines.picture import EPOCHS_SHOWN, draw

ROOT = Path(__file__).resolve().parents[2]


def test_the_readmes_picture_is_the_graph() -> None:
    settings = Settings(training=TrainingSettings(epochs=EPOCHS_SHOWN))
    drawn = draw(build_definitions(settings))
    assert drawn == (ROOT / "docs/graph.svg").read_text(encoding="utf-8"), (
        "run: python -m pipelines.picture docs/graph.svg"
    )


def test_every_asset_is_a_box_and_epochs_follow_each_other() -> None:
    settings = Settings(training=TrainingSettings(epochs=5))
    picture = ET.fromstring(draw(build_definitions(settings)))
    names = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    for key in ("pg19.shards", "unified.train.raw", "vocabulary", "windows.test", "samples"):
        assert names.count(key) == 1
    assert [f"checkpoint.epoch_{n}" for n in range(1, 6)] == sorted(
        n for n in names if n and n.startswith("checkpoint")
    )
