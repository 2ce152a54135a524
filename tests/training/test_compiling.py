from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._inductor.config
from safetensors import safe_open

from perigee.errors import SettingsError
from perigee.settings import Settings
from perigee.training.compiling import require_compiler
from perigee.training.layout import MODEL
from perigee.training.trainer import train_epochs

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def losses_and_names(settings: Settings) -> tuple[list[float], list[str]]:
    """Of every step, and of the checkpoint's tensors."""
    checkpoint = next(train_epochs(settings, epochs=[1])).checkpoint
    lines = Path(settings.training.log_path).read_text().splitlines()
    with safe_open(checkpoint / MODEL, "pt") as file:
        names = sorted(file.keys())
    return [record["loss"] for line in lines if "loss" in (record := json.loads(line))], names


@needs_compiler
@pytest.mark.filterwarnings("ignore")  # those of torch, while it compiles
def test_compiled_layers_compute_the_same(
    make_training: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kept))
    plain, names = losses_and_names(make_training(log_every=1))
    compiled, again = losses_and_names(make_training("compiled", log_every=1, compile=True))
    assert names == again
    assert len(plain) == len(compiled) > 3
    assert compiled == pytest.approx(plain, rel=1e-3)
    files = {path.suffix for path in kept.rglob("*") if path.is_file()}
    assert ".so" in files
    assert files <= {".so", ".cpp", ".h", ".py", ".lock"}, "a pickle may have been written"


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/no/such/compiler",))
    with pytest.raises(SettingsError, match=r"\[training\] compile.*leave compile = false"):
        require_compiler(torch.device("cpu"))
