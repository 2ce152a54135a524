from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from generation_toys import small_settings

from perigee.cli.main import main
from perigee.cli.original_order import Positional, read_positional
from perigee.errors import SettingsError

CONFIG = """
[model]
num_layers = 1
model_dim = 16
num_heads = 2
oscillator_count = 2
mamba_repeat = 1
max_radius = 24
[training]
sequence_length = 48
use_gpu = false
epochs = 2
[generation]
steps = 4
length = 12
"""


@dataclass(frozen=True)
class Said:
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture
def perigee(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> Callable[..., Said]:
    """The command in an empty project whose default settings file is a small one."""
    for variable in ("PERIGEE_CONFIG", "PERIGEE_NUM_LAYERS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/perigee_train.toml").write_text(CONFIG)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["perigee", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Said(stopped.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def checkpoint(make_checkpoint) -> Path:
    """The first epoch of the default settings."""
    return make_checkpoint(small_settings(Path("artifacts/perigee")))


CHECKPOINTS = "artifacts/perigee/checkpoints"


def test_the_originals_order(perigee, checkpoint: Path) -> None:
    said = perigee(
        "generate",
        "configs/perigee_train.toml",
        f"{CHECKPOINTS}/perigee_epoch1.jls",
        "Gallia prepares near the Moon",
        "6",
        "matrix",
        "2",
        "frames.txt",
        "denoising.gif",
    )
    assert said.status == 0
    assert re.findall(r"^step (\d) of 6$", said.out, re.M) == list("0123456")
    assert "Gallia prepares near the Moon" in said.out
    assert Path("frames.txt").read_text() == said.out
    assert Path("denoising.gif").read_bytes().startswith(b"GIF89a")
    assert "'prepares'" in said.err
    assert "written: denoising.gif" in said.err


def test_only_a_prompt(perigee, checkpoint: Path) -> None:
    said = perigee("generate", "the Moon")
    assert said.status == 0
    assert said.out.startswith("the Moon ")
    assert perigee("generate", "the Moon") == said


def test_every_option_reaches_the_record(perigee, checkpoint: Path) -> None:
    named = {
        "steps": 5,
        "batch": 2,
        "sampler": "remasking",
        "certainty": "margin",
        "schedule": "cosine",
        "temperature": 0.9,
        "top_p": 0.8,
        "top_k": 7,
        "no_repeat": 1,
        "length": 20,
        "block_length": 6,
        "seed": 3,
    }
    options = [f"--{name.replace('_', '-')}={value}" for name, value in named.items()]
    more = ["--remasking", "rescale", "--remasking-strength", "0.5", "--no-end", "--json", "a.json"]
    said = perigee("generate", "the moon", *options, *more, "--html", "a.html")
    assert said.status == 0, said.err
    first, second = json.loads(Path("a.json").read_text())["samples"]
    assert said.out == f"{first['text']}\n\n{second['text']}\n"
    request = first["request"]
    assert {name: request[name] for name in named} == named
    assert request["remasking"]["kind"] == "rescale"
    assert request["remasking"]["strength"] == 0.5
    assert request["can_end"] is False
    assert len(first["text"].split()) > 10
    assert Path("a.html").read_text().startswith("<!doctype html>")


def test_an_infilled_prompt_keeps_its_length(perigee, checkpoint: Path) -> None:
    perigee("generate", "the [MASK:3] of the moon", "--json", "a.json")
    (sample,) = json.loads(Path("a.json").read_text())["samples"]
    assert sample["words"] == 7
    assert sample["text"].endswith("of the moon")
    perigee("generate", "the [MASK:3] of the moon", "--length", "9", "--no-end", "--json", "a.json")
    assert json.loads(Path("a.json").read_text())["samples"][0]["words"] == 9


def test_the_only_training_need_not_be_named(perigee, make_checkpoint) -> None:
    settings = small_settings(Path("artifacts/perigee"))
    training = settings.training.model_copy(update={"checkpoint_name": "other"})
    other = make_checkpoint(settings.model_copy(update={"training": training}), 2)
    said = perigee("generate", "the")
    assert said.status == 0
    assert said.err == f"configs/perigee_train.toml is not trained; {other} is\n"
    named = perigee("generate", "configs/perigee_train.toml", "the")
    assert named.status == 2
    assert "no epoch has a checkpoint yet" in named.err
    placed = perigee("generate", "--checkpoint", CHECKPOINTS, "the")
    assert (placed.status, placed.err) == (0, "")


def test_of_two_trainings_the_settings_own_comes_first(perigee, make_checkpoint) -> None:
    settings = small_settings(Path("artifacts/perigee"))
    make_checkpoint(settings, 1)
    training = settings.training.model_copy(update={"checkpoint_name": "other"})
    make_checkpoint(settings.model_copy(update={"training": training}), 2)
    perigee("generate", "configs/perigee_train.toml", CHECKPOINTS, "the", "--json", "a.json")
    assert json.loads(Path("a.json").read_text())["checkpoint"]["name"] == "checkpoint.epoch_1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["configs/perigee_train.toml", "nowhere.jls", "the"], "nowhere/manifest.json"),
        (["configs/perigee_train.toml", CHECKPOINTS, "the", "0"], "steps is '0'"),
        (["configs/perigee_train.toml", CHECKPOINTS, "the", "6", "film"], "the view is 'film'"),
        (["configs/perigee_train.toml", CHECKPOINTS, "the", "6", "live", "x"], "batch is 'x'"),
        (["a", "b", "c", "1", "live", "1", "f", "g", "h"], "9 arguments"),
        (["the", "--temperature", "0"], "temperature is 0.0; expected above 0"),
        (["the", "--top-p", "1.5"], "top_p is 1.5"),
        (["the", "--length", "1"], "length 1 leaves nothing to write"),
        (["the", "--length", "500", "--steps", "2"], "2 steps for 21 blocks"),
        (["the [MASK:70000]"], "[MASK:70000]: asks for 70000 words; expected at most 65,536"),
        (["the", "--gif", "configs"], "configs: cannot be written"),
        (["nowhere.toml", "the"], "nowhere.toml: no such settings file"),
    ],
)
def test_a_mistake_is_one_line(perigee, checkpoint: Path, arguments: list[str], said: str) -> None:
    got = perigee("generate", *arguments)
    assert got.status == 2
    assert said in got.err
    assert got.err.startswith("perigee: ")
    assert got.err.count("\n") == 1


def test_places_of_arguments() -> None:
    assert read_positional(["the moon"]) == Positional("the moon")
    assert read_positional(["a.toml", "the moon"]) == Positional("the moon", config="a.toml")
    assert read_positional(["a.toml", "1812"]) == Positional("1812", config="a.toml")
    assert read_positional(["the moon", "32"]) == Positional("the moon", steps=32)
    assert read_positional(["the moon", "3", "live", "2"]) == Positional(
        "the moon", None, None, 3, "live", 2
    )
    assert read_positional(["a.toml", "c", "p", "3", "live", "2", "f", "g"]) == Positional(
        "p", "a.toml", "c", 3, "live", 2, "f", "g"
    )
    with pytest.raises(SettingsError, match="steps is '-1'"):
        read_positional(["a.toml", "c", "p", "-1"])
