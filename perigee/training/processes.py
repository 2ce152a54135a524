"""One process or several: each takes its slice of every step's batch, and gradients are summed.

The global batch, its order, masks and noise are the same for every number of processes, and so are
the losses, to the rounding of the sums. Every process holds all weights and makes the same update;
the first one writes the log and the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from perigee.errors import TrainingError
from perigee.observer import SILENT, Observer
from perigee.training.device import choose_device

BUCKET_BYTES = 32 * 2**20
"""Gradients that travel together."""
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: validation and a checkpoint lie between two steps."""

MEETING_VARIABLE = "PERIGEE_MEETING_FILE"
"""Set by what starts the processes: the file by which they find each other. Without it they meet
where torchrun says, on a port that is open to the network."""


class Processes(Protocol):
    """The processes of a training."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def local_rank(self) -> int:
        """Number of this process on its machine: which card it takes."""

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over the processes."""

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over the processes."""

    def wait(self) -> None:
        """Return when every process has come here."""


class OneProcess:
    """A training that is alone."""

    rank = 0
    count = 1
    local_rank = 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Processes`."""

    def largest(self, values: Sequence[float]) -> list[float]:
        """See :class:`Processes`."""
        return list(values)

    def wait(self) -> None:
        """See :class:`Processes`."""


class ProcessGroup:
    """The processes that ``torchrun`` started: gloo between CPUs, NCCL between CUDA cards."""

    def __init__(
        self, rank: int, count: int, local_rank: int, device: torch.device, meeting: Path | None
    ) -> None:
        self.rank, self.count, self.local_rank = rank, count, local_rank
        self._device = device
        backend = "gloo"
        if device.type == "cuda":
            backend = "nccl"
            torch.cuda.set_device(device)
        store = None
        if meeting is not None:
            store = dist.FileStore(str(meeting), count)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Processes`; tensors travel together in buckets."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _unreachable():
                dist.all_reduce(flat)
            for tensor, part in zip(
                bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True
            ):
                tensor.copy_(part.view_as(tensor))

    def largest(self, values: Sequence[float]) -> list[float]:
        """See :class:`Processes`."""
        shared = torch.tensor(values, dtype=torch.float64, device=self._device)
        with _unreachable():
            dist.all_reduce(shared, dist.ReduceOp.MAX)
        result: list[float] = shared.tolist()
        return result

    def wait(self) -> None:
        """See :class:`Processes`."""
        self.largest([0.0])

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


@contextmanager
def joined_processes(
    environ: Mapping[str, str], use_gpu: bool, observer: Observer
) -> Iterator[Processes]:
    """The processes that ``torchrun`` started, joined for as long as the block runs.

    Without ``torchrun`` this process is alone.

    Raises
    ------
    TrainingError
        If the launcher's variables are not whole.
    """
    ranks = launched_ranks(environ)
    if ranks is None:
        yield OneProcess()
        return
    device = choose_device(use_gpu, observer if ranks[0] == 0 else SILENT, index=ranks[2])
    meeting = environ.get(MEETING_VARIABLE)
    group = ProcessGroup(*ranks, device.torch_device, Path(meeting) if meeting else None)
    try:
        yield group
    finally:
        group.close()


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"the other processes cannot be reached ({str(error).splitlines()[0]})",
            remedy="resume: everything up to the last snapshot is kept",
        ) from error


def launched_ranks(environ: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Rank, count and local rank as ``torchrun`` gives them; ``None`` without it.

    Raises
    ------
    TrainingError
        If only some of the variables are there, or one is no number.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [environ.get(name) for name in names]
    if values == [None] * 3:
        return None
    try:
        rank, count, local = (int(value or "") for value in values)
    except ValueError:
        said = ", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))
        raise TrainingError(
            f"the processes' numbers are {said}", remedy="start with torchrun, or unset all three"
        ) from None
    return rank, count, local


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        size += tensor.nbytes
        if not buckets or size > BUCKET_BYTES or buckets[-1][0].dtype != tensor.dtype:
            buckets.append([])
            size = tensor.nbytes
        buckets[-1].append(tensor)
    return buckets
