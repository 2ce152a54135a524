from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from perigee.observer import ListObserver
from perigee.training.device import Card, Device, choose_device, supported

CUDA_130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
CUDA_126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
M40 = Card("Tesla M40 24GB", (5, 2))
H100 = Card("NVIDIA H100 80GB HBM3", (9, 0))


@dataclass
class SimulatedCuda:
    """A machine of our choice."""

    version: str | None = "13.0"
    built_for: Sequence[str] = CUDA_130
    driver: bool = True
    found: Sequence[Card] = ()
    complaint: str = ""
    kernel_error: str = ""

    def build(self) -> str | None:
        return self.version

    def architectures(self) -> Sequence[str]:
        return self.built_for

    def has_driver(self) -> bool:
        return self.driver

    def cards(self) -> tuple[Sequence[Card], str]:
        return self.found, self.complaint

    def try_kernel(self, index: int) -> str:
        return self.kernel_error


def choose(cuda: SimulatedCuda, index: int = 0) -> tuple[Device, list[str]]:
    observer = ListObserver()
    device = choose_device(True, observer, index=index, cuda=cuda)
    assert all(level == "warning" for level, _ in observer.messages)
    return device, [message for _, message in observer.messages]


def test_a_card_that_works_is_taken_without_a_word() -> None:
    device, messages = choose(SimulatedCuda(found=[H100]))
    assert device == Device(torch.device("cuda", 0), H100.name, has_bfloat16=True)
    assert messages == []


def test_a_tesla_m40_under_a_cuda_13_build() -> None:
    device, messages = choose(SimulatedCuda(found=[M40]))
    assert device.torch_device.type == "cpu"
    (message,) = messages
    version = torch.__version__.partition("+")[0]
    for part in (
        "Tesla M40 24GB",
        "compute capability 5.2",
        "for CUDA 13.0",
        "sm_75, sm_80",
        "build for CUDA 12.6",
        f"the command for torch {version} and cu126",
        "CPU",
    ):
        assert part in message


def test_a_tesla_m40_under_the_right_build() -> None:
    device, messages = choose(SimulatedCuda("12.6", CUDA_126, found=[M40]))
    assert device == Device(torch.device("cuda", 0), M40.name, has_bfloat16=False)
    assert messages == []


@pytest.mark.parametrize(
    ("cuda", "parts"),
    [
        (SimulatedCuda(None, (), driver=False), ["no CUDA card", "CPU build"]),
        (SimulatedCuda(None, ()), ["driver is loaded", "CPU build", "cu126"]),
        (SimulatedCuda(driver=False), ["no CUDA card", "no NVIDIA driver", "13.0"]),
        (
            SimulatedCuda(complaint="The NVIDIA driver on your system is too old"),
            ["offers no CUDA device (The NVIDIA driver on your system is too old)", "nvidia-smi"],
        ),
        (
            SimulatedCuda(found=[H100], kernel_error="CUDA error: no kernel image"),
            [H100.name, "9.0", "failed (CUDA error: no kernel image)"],
        ),
        (SimulatedCuda(found=[Card("Tesla K80", (3, 7))]), ["Tesla K80", "no present build"]),
        (SimulatedCuda(found=[Card("Rubin", (13, 0))], built_for=["sm_90"]), ["newer PyTorch"]),
    ],
)
def test_every_other_machine_falls_back_and_says_why(cuda: SimulatedCuda, parts: list[str]) -> None:
    device, messages = choose(cuda)
    assert (device.torch_device, device.name) == (torch.device("cpu"), "CPU")
    (message,) = messages
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_a_card_number_that_is_not_there() -> None:
    _, (message,) = choose(SimulatedCuda(found=[H100]), index=3)
    assert "CUDA card 3 was asked for, but there are 1" in message


def test_no_gpu_asked_for_no_question_no_warning() -> None:
    observer = ListObserver()
    device = choose_device(False, observer, cuda=SimulatedCuda(found=[H100]))
    assert device.torch_device.type == "cpu"
    assert observer.messages == []


def test_this_machine_answers() -> None:
    """The real probe: whatever the machine has, a device that computes comes back."""
    device = choose_device(True, ListObserver())
    assert torch.ones(2, device=device.torch_device).sum().item() == 2.0


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((5, 2), ["sm_50"], True),
        ((5, 0), ["sm_52"], False),
        ((6, 1), ["sm_50"], False),
        ((8, 9), ["sm_80", "sm_86"], True),
        ((12, 0), ["compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((10, 0), ["gfx90a", "sm_9"], False),
        ((12, 1), CUDA_130, True),
    ],
)
def test_what_runs_on_what(
    capability: tuple[int, int], architectures: Sequence[str], expected: bool
) -> None:
    assert supported(capability, architectures) is expected


@pytest.mark.parametrize(("instruction", "has"), [("avx512_bf16", True), ("avx512_f", False)])
def test_a_cpu_with_instructions_for_bfloat16_uses_them(
    instruction: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instruction: True})
    assert choose_device(False, ListObserver()).has_bfloat16 is has
