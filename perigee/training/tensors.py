"""Tensors in files: safetensors only, so that nothing in a file is ever executed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perigee.errors import CheckpointError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors; the bytes are a function of names and values alone.

    Raises
    ------
    OSError
        If the disk is full or the directory cannot be written.
    """
    flat = {name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}
    try:
        save_file(flat, path)
    except SafetensorError as error:
        # The library hides the system's error number in its text.
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error), str(path)) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors to the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing or is anything else than whole safetensors.
    """
    try:
        return dict(load_file(path, device="cpu"))
    except FileNotFoundError:
        raise CheckpointError("no such file", place=path) from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"is not a whole safetensors file ({error})", place=path) from None


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters (a shared one once) and persistent buffers of ``module`` by name."""
    persistent = module.state_dict(keep_vars=True)
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors.update((name, b) for name, b in module.named_buffers() if name in persistent)
    return tensors


@torch.no_grad()
def fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor], place: Path) -> None:
    """Copy ``values`` into ``targets``; names, shapes and types must be the same.

    Nothing is copied unless everything fits.

    Raises
    ------
    CheckpointError
        Naming the first tensor that does not fit.
    """
    for name in sorted(targets.keys() | values.keys()):
        if name not in values or name not in targets:
            state = "missing" if name not in values else "not part of this model"
            raise CheckpointError(f"tensor {name} is {state}", place=place)
        target, value = targets[name], values[name]
        if (target.shape, target.dtype) != (value.shape, value.dtype):
            raise CheckpointError(
                f"tensor {name} is {_kind(value)}", place=place, expected=_kind(target)
            )
    for name, target in targets.items():
        target.copy_(values[name])


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
