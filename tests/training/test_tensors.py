from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from perigee.errors import CheckpointError
from perigee.training.tensors import fill, module_tensors, read_tensors, write_tensors


class Tied(nn.Module):
    """Shares a matrix, keeps one buffer and hides another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("made_again", torch.ones(1), persistent=False)


def test_a_shared_matrix_is_kept_once() -> None:
    assert set(module_tensors(Tied())) == {"first.weight", "kept"}


def test_bytes_are_a_function_of_the_values(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    tensors = {"x": torch.arange(4.0), "y": torch.ones(2, dtype=torch.bfloat16)}
    write_tensors(a, tensors)
    write_tensors(b, dict(reversed(tensors.items())))
    assert a.read_bytes() == b.read_bytes()
    back = read_tensors(a)
    assert all(torch.equal(back[n], tensors[n]) and back[n].dtype == tensors[n].dtype for n in back)


class Trap:
    """Unpickling this would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_executes_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.safetensors", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(CheckpointError, match="safetensors"):
        read_tensors(path)
    torch.save({"x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="safetensors"):
        read_tensors(path)
    assert not mark.exists()


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_tensors(tmp_path / "x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": torch.ones(2)}, "tensor b is missing"),
        ({"a": torch.ones(2), "b": torch.ones(1), "c": torch.ones(1)}, "c is not part"),
        ({"a": torch.ones(3), "b": torch.ones(1)}, r"a is float32 \[3\]; expected float32 \[2\]"),
        ({"a": torch.ones(2).double(), "b": torch.ones(1)}, "a is float64"),
    ],
)
def test_what_does_not_fit_changes_nothing(values: dict[str, torch.Tensor], message: str) -> None:
    targets = {"a": torch.zeros(2), "b": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=message):
        fill(targets, values, Path("file"))
    assert not targets["a"].any()
    assert not targets["b"].any()


def test_a_directory_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none") as caught:
        write_tensors(tmp_path / "none" / "x", {"a": torch.ones(1)})
    assert caught.value.filename == str(tmp_path / "none" / "x")
