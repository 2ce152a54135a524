"""What goes wrong in the middle: numbers, memory, disks, damaged files."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from damage import Trap, corrupt, damage_and_load, mend_hashes
from stopping import StopAfter, run
from torch import Tensor

from perigee.errors import (
    ArtifactError,
    CheckpointError,
    Interrupted,
    NonFiniteError,
    PerigeeError,
    TrainingError,
)
from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.training import checkpoint as checkpoints
from perigee.training import epoch as epochs
from perigee.training.checkpoint import load_checkpoint
from perigee.training.tensors import read_tensors, write_tensors

Make = Callable[..., Settings]


def stop_after(settings: Settings, steps: int) -> Path:
    """Train some steps; the snapshot."""
    with pytest.raises(Interrupted):
        run(settings, observer=StopAfter(count=steps))
    return max((Path(settings.training.checkpoint_dir) / "perigee_snapshots").iterdir())


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


# Snapshots


@pytest.fixture
def whole(make_training: Make) -> list[str]:
    return [report.manifest.version for report in run(make_training("whole", epochs=2))]


def test_a_damaged_snapshot_falls_back_to_the_one_before(
    make_training: Make, whole: list[str]
) -> None:
    settings, observer = make_training(epochs=2), ListObserver()
    first = stop_after(settings, 2)
    second = stop_after(settings, 2)
    assert (first.name, second.name) == ("step000000002", "step000000004")
    damage(second / "optimizer.safetensors")
    reports = run(settings, observer=observer)
    assert [r.manifest.version for r in reports] == whole
    warnings = [text for level, text in observer.messages if level == "warning"]
    assert "optimizer.safetensors: does not hold what its manifest says" in warnings[0]
    assert f"falling back to the snapshot {first}" in warnings[1]
    assert any("goes on after 2 of 5 steps" in text for _, text in observer.messages)


def test_two_damaged_snapshots_fall_back_to_the_epoch(
    make_training: Make, whole: list[str]
) -> None:
    settings, observer = make_training(epochs=2), ListObserver()
    stop_after(settings, 6)
    last = stop_after(settings, 1)
    for snapshot in last.parent.iterdir():
        (snapshot / "manifest.json").unlink()
    reports = run(settings, observer=observer)
    assert [r.reused for r in reports] == [True, False]
    assert [r.manifest.version for r in reports] == whole
    assert sum(level == "warning" for level, _ in observer.messages) == 2


def test_only_two_snapshots_are_kept(make_training: Make) -> None:
    settings = make_training(epochs=1, snapshot_minutes=1e-9)
    last = stop_after(settings, 4)
    assert sorted(p.name for p in last.parent.iterdir()) == ["step000000003", "step000000004"]
    run(settings)
    assert not last.parent.exists()


def test_a_damaged_epoch_is_trained_again(make_training: Make, whole: list[str]) -> None:
    settings, observer = make_training(epochs=2), ListObserver()
    run(settings)
    damage(settings.checkpoint_path(1) / "model.safetensors")
    reports = run(settings, observer=observer)
    assert [r.reused for r in reports] == [False, True]
    assert [r.manifest.version for r in reports] == whole
    assert any("perigee_epoch1_damaged1" in text for _, text in observer.messages)
    assert (settings.checkpoint_path(1).parent / "perigee_epoch1_damaged1").is_dir()


def test_what_a_killed_writer_left_is_no_snapshot(make_training: Make, whole: list[str]) -> None:
    settings = make_training(epochs=2)
    snapshot = stop_after(settings, 3)
    half = snapshot.parent / f".step000000004.{2**22 + 1}.part"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert [r.manifest.version for r in run(settings)] == whole
    assert not half.exists()


# Corrupted checkpoints


def test_a_thousand_corrupted_checkpoints_load_no_wrong_weight(
    make_training: Make, tmp_path: Path
) -> None:
    """Each is refused with one line, or what was hit decides nothing and the weights are right."""
    settings = make_training(epochs=1)
    run(settings)
    mark = tmp_path / "executed"
    outcomes = damage_and_load(settings.checkpoint_path(1), 1000, 0, mark)
    assert not mark.exists()
    assert {outcome.kind for outcome in outcomes} >= {"flip", "cut", "value", "pickle"}
    wrong = [o for o in outcomes if o.result not in ("refused", "same weights")]
    assert wrong == []
    # What may be hit: clock readings in the manifest; the optimiser's state, which is not loaded.
    harmless = {o.name for o in outcomes if o.result == "same weights"}
    assert harmless <= {"manifest.json", "optimizer.safetensors"}
    assert sum(o.result == "refused" for o in outcomes) > 950


def test_a_trap_leaves_its_mark_where_it_is_unpickled(tmp_path: Path) -> None:
    """Otherwise the absence of a mark would say nothing."""
    for name in ("by pickle", "by torch"):
        mark, path = tmp_path / name, tmp_path / "file"
        path.write_bytes(b"-")
        corrupt(path, "pickle", np.random.default_rng(0), mark)
        if name == "by torch":
            corrupt(path, "torch.save", np.random.default_rng(0), mark)
            torch.load(path, weights_only=False)
        else:
            pickle.loads(path.read_bytes())
        assert mark.is_dir()


def forge(path: Path, name: str, content: Callable[[Path], None]) -> None:
    """Replace a file of a checkpoint and mend every hash, as someone who wants to be believed."""
    content(path / name)
    mend_hashes(path)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors"])
def test_a_forged_manifest_does_not_make_a_pickle_load(
    make_training: Make, tmp_path: Path, name: str
) -> None:
    settings, mark = make_training(epochs=2), tmp_path / "executed"
    run(settings, epochs=[1])
    path = settings.checkpoint_path(1)
    forge(path, name, lambda file: torch.save(Trap(mark), file) and None)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        run(settings)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("state.json", "{}", "does not hold a training's state"),
        ("state.json", '{"progress": {"epoch": 1}}', "results of an epoch"),
        ("settings.json", '{"model": {"num_layers": 0}}', "does not hold settings"),
        ("settings.json", '{"model": {"model_dim": 32}}', "tensor"),
        ("perigee_vocab.json", '["a"]', "begins with"),
    ],
)
def test_a_forged_json_is_refused(make_training: Make, name: str, text: str, message: str) -> None:
    settings = make_training(epochs=2)
    run(settings, epochs=[1])
    path = settings.checkpoint_path(1)
    forge(path, name, lambda file: file.write_text(text) and None)
    with pytest.raises(ArtifactError, match=message):
        load_checkpoint(path)
        run(settings)


# Numbers that are not finite


def test_a_gradient_that_is_not_finite_stops_before_the_update(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_training(gradient_clip=0.0)
    raw = Path(settings.training.train_path)
    lines = list(range(40))
    table = pa.table(
        {
            "line": lines,
            "source": ["pg19"] * 40,
            "title": [f"Book {n}" for n in lines],
            "url": [""] * 40,
        }
    )
    pq.write_table(table, raw.with_name("unified.train.index.parquet"))
    before = stop_after(settings, 3)
    honest = epochs.take_step

    def poisoned(learner, batch, *rest):
        with torch.no_grad():
            learner.denoiser.output_bias[5] = torch.nan
        report = honest(learner, batch, *rest)
        with torch.no_grad():
            learner.denoiser.output_bias[5] = kept
        return report

    kept = read_tensors(before / "model.safetensors")["output_bias"][5]
    monkeypatch.setattr(epochs, "take_step", poisoned)
    with pytest.raises(NonFiniteError) as caught:
        run(settings)
    line = str(caught.value)
    assert "the loss of step 4 (epoch 1) is nan: stopped before the update" in line
    for part in ("pg19 line", "Book ", "learning_rate (now 0.01)", "warmup_steps", "gradient_clip"):
        assert part in line
    assert f"kept in {before.with_name('step000000003')}" in line
    same = read_tensors(before.with_name("step000000003") / "model.safetensors")
    assert all(
        torch.equal(same[n], v) for n, v in read_tensors(before / "model.safetensors").items()
    )
    assert not settings.checkpoint_path(1).exists()


def test_a_rate_that_is_far_too_high_is_caught(make_training: Make) -> None:
    with pytest.raises(NonFiniteError, match="lower learning_rate"):
        run(make_training(learning_rate=1e38, gradient_clip=0.0))


# Memory and disks


@pytest.mark.parametrize(
    ("training", "remedy"),
    [
        ({"batch_size": 4}, r"set \[training\] accumulate = 2 \(now 1\): 2 windows at a time"),
        ({"batch_size": 6, "accumulate": 2}, r"accumulate = 6 \(now 2\): 1 windows at a time"),
        ({"batch_size": 1}, r"sequence_length to 8 \(now 16\) or \[model\] num_layers to 1"),
    ],
)
@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_says_what_to_lower(
    make_training: Make,
    monkeypatch: pytest.MonkeyPatch,
    training: Mapping[str, int],
    remedy: str,
    kind: type[RuntimeError],
) -> None:
    def full(*_: object) -> None:
        raise kind("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(epochs, "take_step", full)
    with pytest.raises(TrainingError, match=remedy) as caught:
        run(make_training(**training))
    assert "out of memory on CPU at step 1" in str(caught.value)


def test_another_runtime_error_is_no_memory_error(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(epochs, "take_step", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run(make_training())


def test_a_full_disk_stops_with_the_last_snapshot_intact(
    make_training: Make, monkeypatch: pytest.MonkeyPatch, whole: list[str]
) -> None:
    settings = make_training(epochs=2, snapshot_minutes=1e-9)
    good = stop_after(settings, 2)

    def full(path: Path, tensors: Mapping[str, Tensor]) -> None:
        if path.name == "optimizer.safetensors":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_tensors(path, tensors)

    monkeypatch.setattr(checkpoints, "write_tensors", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*make room, then resume"):
        run(settings)
    monkeypatch.undo()
    assert good.is_dir()
    assert not list(good.parent.glob(".*"))
    observer = ListObserver()
    assert [r.manifest.version for r in run(settings, observer=observer)] == whole
    assert not any(level == "warning" for level, _ in observer.messages)


# What training reads


def test_windows_of_another_length_are_refused(make_training: Make) -> None:
    with pytest.raises(PerigeeError, match="windows of 16 words; expected 32 words"):
        run(make_training(sequence_length=32))


def test_damaged_windows_are_refused(make_training: Make) -> None:
    settings = make_training()
    damage(settings.windows_path("valid"))
    with pytest.raises(ArtifactError, match=r"perigee.valid.arrow"):
        run(settings)


def test_another_vocabulary_is_refused(make_training: Make) -> None:
    settings = make_training()
    path = Path(settings.training.vocab_path)
    path.write_text(json.dumps([*json.loads(path.read_text()), "new"]))
    with pytest.raises(ArtifactError, match="was made with another vocabulary"):
        run(settings)


def test_missing_windows_say_what_to_do(make_training: Make) -> None:
    settings = make_training()
    settings.windows_path("train").unlink()
    with pytest.raises(ArtifactError, match="build the windows"):
        run(settings)
