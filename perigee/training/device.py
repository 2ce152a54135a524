"""Which device computes: CUDA if it is asked for and really works, else the CPU with the reason.

``torch.cuda.is_available()`` is not enough: a build of PyTorch holds kernels for some capabilities
only, and a card that it was not built for fails at the first kernel. So the card's capability is
looked up among those of the build, and a tiny kernel is run.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from perigee.allocator import keep_freed_memory
from perigee.observer import Observer

OLDEST_OF_CUDA_13 = (7, 5)
"""PyTorch's builds for CUDA 12.8 and newer begin at Turing; those for CUDA 12.6 at Maxwell, 5.0."""
DRIVER_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


@dataclass(frozen=True)
class Device:
    """A device that works."""

    torch_device: torch.device
    """What tensors are put on."""
    name: str
    """The card's name, or "CPU"."""
    has_bfloat16: bool
    """Whether its matrix units take bfloat16."""


@dataclass(frozen=True)
class Card:
    """A CUDA card as its driver shows it."""

    name: str
    capability: tuple[int, int]


class Cuda(Protocol):
    """What :func:`choose_device` asks of CUDA; simulated in the tests."""

    def build(self) -> str | None:
        """CUDA version of this build of PyTorch; ``None`` for a build without CUDA."""

    def architectures(self) -> Sequence[str]:
        """What the build holds kernels for, such as ``sm_90`` or ``compute_120``."""

    def has_driver(self) -> bool:
        """Whether NVIDIA's kernel driver is loaded."""

    def cards(self) -> tuple[Sequence[Card], str]:
        """The usable cards, and what the driver complained of."""

    def try_kernel(self, index: int) -> str:
        """Run a tiny kernel; the error's first line, or nothing if it worked."""


class TorchCuda:
    """CUDA as PyTorch sees it."""

    def build(self) -> str | None:
        """See :class:`Cuda`."""
        return torch.version.cuda

    def architectures(self) -> Sequence[str]:
        """See :class:`Cuda`."""
        return torch.cuda.get_arch_list()

    def has_driver(self) -> bool:
        """See :class:`Cuda`."""
        return any(Path(sign).exists() for sign in DRIVER_SIGNS)

    def cards(self) -> tuple[Sequence[Card], str]:
        """See :class:`Cuda`."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                count = torch.cuda.device_count() if torch.cuda.is_available() else 0
                cards = [
                    Card(torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i))
                    for i in range(count)
                ]
            except (RuntimeError, AssertionError) as error:
                return (), _first_line(error)
        return cards, _first_line(caught[0].message) if caught else ""

    def try_kernel(self, index: int) -> str:
        """See :class:`Cuda`."""
        try:
            values = torch.arange(8.0, device=f"cuda:{index}")
            product = values @ values
            return "" if product.item() == 140.0 else f"gives {product.item()} instead of 140"
        except RuntimeError as error:
            return _first_line(error)


def choose_device(
    use_gpu: bool, observer: Observer, *, index: int = 0, cuda: Cuda | None = None
) -> Device:
    """The CUDA card ``index`` if one is asked for and works; else the CPU, with a warning why.

    The warning names the card, its capability, what the build of PyTorch supports and what to
    install.
    """
    if not use_gpu:
        return _cpu()
    cuda = TorchCuda() if cuda is None else cuda
    cards, complaint = cuda.cards()
    problem = _problem(cuda, cards, complaint, index)
    if problem is not None:
        observer.say(
            f"{problem}; the CPU computes instead (use_gpu = false is for that, and silent)",
            "warning",
        )
        return _cpu()
    card = cards[index]
    return Device(torch.device("cuda", index), card.name, card.capability >= (8, 0))


@contextmanager
def deterministic(device: Device) -> Iterator[None]:
    """Let CUDA choose kernels that give the same bits each time; the CPU's do so anyway."""
    if device.torch_device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    # cuBLAS reads this variable itself; without it PyTorch warns of every matrix product.
    os.putenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _cpu() -> Device:
    """The CPU; with instructions for bfloat16 its matrix products take a quarter of the time."""
    keep_freed_memory()
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has_bfloat16 = bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return Device(torch.device("cpu"), "CPU", has_bfloat16)


def _problem(cuda: Cuda, cards: Sequence[Card], complaint: str, index: int) -> str | None:
    build = cuda.build()
    if build is None:
        if not cuda.has_driver():
            return "no CUDA card found, and this PyTorch is a CPU build"
        return (
            "NVIDIA's driver is loaded, but this PyTorch is a CPU build; "
            f"install one with CUDA: {_command('cu126')}"
        )
    if index >= len(cards):
        return _no_card(cuda, len(cards), complaint, index)
    card = cards[index]
    if not supported(card.capability, cuda.architectures()):
        return _unsupported(card, build, cuda.architectures())
    if error := cuda.try_kernel(index):
        return f"{_describe(card)} is there, but a first small computation failed ({error})"
    return None


def _no_card(cuda: Cuda, count: int, complaint: str, index: int) -> str:
    if count:
        return f"CUDA card {index} was asked for, but there are {count}"
    if not cuda.has_driver():
        return f"no CUDA card and no NVIDIA driver found (PyTorch is built for CUDA {cuda.build()})"
    reason = f" ({complaint})" if complaint else ""
    return (
        f"NVIDIA's driver is loaded, but it offers no CUDA device{reason}; look at nvidia-smi, at "
        f"CUDA_VISIBLE_DEVICES and at the container's --gpus, and whether the driver is new enough "
        f"for CUDA {cuda.build()}"
    )


def _unsupported(card: Card, build: str, architectures: Sequence[str]) -> str:
    if card.capability < (5, 0):
        remedy = "no present build of PyTorch supports it"
    elif card.capability < OLDEST_OF_CUDA_13:
        remedy = f"install a build for CUDA 12.6: {_command('cu126')}"
    else:
        remedy = "install a newer PyTorch with the newest CUDA"
    return (
        f"{_describe(card)} is not supported by this PyTorch {torch.__version__} for CUDA {build}, "
        f"which supports {', '.join(architectures) or 'nothing'}; {remedy}"
    )


def _describe(card: Card) -> str:
    return f"{card.name} (compute capability {card.capability[0]}.{card.capability[1]})"


def _command(index: str) -> str:
    version = torch.__version__.partition("+")[0]
    return f"PyTorch's installation page gives the command for torch {version} and {index}"


def supported(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a card can run a build's kernels.

    Machine code (``sm_XY``) runs on its own major capability from its minor one upwards, and what
    has a suffix (``sm_90a``) on exactly that card; PTX (``compute_XY``) on every card from there.
    """
    for architecture in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", architecture)
        if match is None:
            continue
        kind, major, minor, suffix = match.groups()
        built = (int(major), int(minor))
        if suffix and capability == built:
            return True
        if not suffix and kind == "compute" and capability >= built:
            return True
        if not suffix and capability[0] == built[0] and capability >= built:
            return True
    return False


def _first_line(error: BaseException | Warning | str) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
