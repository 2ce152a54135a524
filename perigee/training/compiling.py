"""``torch.compile`` for what surrounds the scan and the attention's core."""

from __future__ import annotations

from functools import cache

import torch
from torch.utils._triton import has_triton

from perigee.errors import SettingsError
from perigee.model import attention, mixer
from perigee.model.attention import LogWindowAttention
from perigee.model.denoiser import Denoiser
from perigee.model.feedforward import FeedForward
from perigee.model.mixer import OscillatorMixer


def compile_layers(denoiser: Denoiser, device: torch.device) -> None:
    """Compile every layer in place, at its first use; parameters and their names stay.

    The scan, the rotary turns and the banded attention are left out: Inductor (PyTorch 2.13) has
    no complex views, and they are large operations already.

    Raises
    ------
    SettingsError
        If the compiler that ``torch.compile`` needs is not installed.
    """
    require_compiler(device)
    _keep_no_pickles()
    _leave_out()
    for layer in denoiser.modules():
        if isinstance(layer, OscillatorMixer | LogWindowAttention | FeedForward):
            layer.compile()


def _keep_no_pickles() -> None:
    """Between runs, keep the compiled code alone.

    PyTorch would also write its graphs as pickles, and load them from the folder for temporary
    files; while it writes one, the process sometimes ends by a segmentation fault (2.13.0;
    pytorch/pytorch#177442).
    """
    import torch._functorch.config
    import torch._inductor.config

    torch._functorch.config.enable_autograd_cache = False
    torch._inductor.config.fx_graph_cache = False


@cache
def _leave_out() -> None:
    """Hide them from the tracer; the mark is a wrapper, and takes seconds to load."""
    for module, name in (
        (mixer, "oscillate"),
        (attention, "rotate"),
        (attention, "banded_attention"),
    ):
        hidden = torch.compiler.disable(getattr(module, name))  # type: ignore[no-untyped-call]
        setattr(module, name, hidden)


def require_compiler(device: torch.device) -> None:
    """See :func:`compile_layers`."""
    if device.type == "cuda":
        has_compiler = has_triton()
        needed = "Triton, which comes with PyTorch for CUDA"
    else:
        has_compiler = _has_cpp_compiler()
        needed = "a C++ compiler: g++, or the one that CXX names"
    if not has_compiler:
        raise SettingsError(
            "is true, and there is no compiler",
            place="[training] compile",
            expected=needed,
            remedy="install it, or leave compile = false",
        )


def _has_cpp_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True
