"""Cross-entropies of hidden parts: marginals of the word softmax among the words that agree.

In continuous time parts come out one at a time, so each hidden part j costs -log of its *own*
marginal, whatever else of its word is hidden:

    logsumexp(logits of the words that agree with what is seen)
  - logsumexp(logits of those among them whose part j is the true one).

The words that agree with what is seen of a word form a *class*: a strided slice of the output
matrix for one residue, i = r mod p. Only a class's logits are ever computed, V / p of them for one
residue seen, V / (p q) for two. Taking the joint probability of the word in place of the sum of
marginals would not give a bound (erratum of 1 May 2026 to MDM-Prime; design, section 7).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from perigee.diffusion.absorbing import FIRST_WORD
from perigee.diffusion.code import PartCode
from perigee.diffusion.crossentropy import HeadPass, chunk_rows, softmax_

LINE = 16
"""What a class itself costs (gathered weights, scattered gradients), in rows through it."""


@dataclass(frozen=True)
class Classes:
    """The words (ids from ``FIRST_WORD``) sorted by some of their parts."""

    members: Int[Tensor, "G K"]
    """Ids of each class, ascending, then filled up with 0, which is no word."""
    is_member: Bool[Tensor, "G K"]
    parts: Int[Tensor, "G K R"]
    """All parts of the members."""
    class_of: Int[Tensor, " V"]
    """The class of every id; on the CPU, for choosing rows."""


@lru_cache(maxsize=64)
def classes_of(code: PartCode, seen: tuple[int, ...], device: torch.device) -> Classes:
    """The classes of words that agree in the parts ``seen`` (at least one of them)."""
    ids = torch.arange(FIRST_WORD, code.vocabulary_size)
    key = torch.zeros_like(ids)
    parts = code.parts(ids)
    for part in seen:
        key = key * code.moduli[part] + parts[:, part]
    _, group = torch.unique(key, return_inverse=True)
    order = group.argsort(stable=True)
    counts = group.bincount()
    rank = torch.arange(len(ids)) - (counts.cumsum(0) - counts)[group[order]]
    members = torch.zeros(len(counts), int(counts.max()), dtype=torch.long)
    members[group[order], rank] = ids[order]
    class_of = torch.cat((torch.full((FIRST_WORD,), -1), group))
    return Classes(
        members.to(device),
        (members >= FIRST_WORD).to(device),
        code.parts(members).to(device, torch.int32),
        class_of,
    )


@dataclass(frozen=True)
class AllHidden:
    """Words masked part by part of which no part is seen: one term for every part."""

    rows: Int[Tensor, " K"]
    targets: Int[Tensor, " K"]
    """True ids; on the CPU."""
    code: PartCode

    def run(self, head: HeadPass) -> None:
        """See :class:`perigee.diffusion.crossentropy.Piece`."""
        width, device = len(head.matrix), head.bias.device
        every_part = [classes_of(self.code, (part,), device) for part in range(len(self.code))]
        for rows, targets in zip(
            head.chunks(self.rows, width), head.chunks(self.targets, width), strict=True
        ):
            agreeing = [c.members[c.class_of[targets].to(device)] for c in every_part]
            states = head.states[rows]
            logits = head.logits(states)
            among = [logits.gather(1, ids) for ids in agreeing]
            losses = len(self.code) * softmax_(logits)
            for shares in among:
                losses = losses - softmax_(shares)
            head.losses[rows] = losses.squeeze(1)
            if head.grad_states is None:
                continue
            weight = head.weights[rows, None]
            slope = logits.mul_(weight * len(self.code))
            for ids, shares in zip(agreeing, among, strict=True):
                slope.scatter_add_(1, ids, shares.mul_(-weight))
            head.gather_gradient(rows, states, slope)


@dataclass(frozen=True)
class SomeSeen:
    """Words of which the parts ``seen`` show: one term for each of the others."""

    rows: Int[Tensor, " K"]
    """On the CPU, as the targets: rows of a class are brought together there."""
    targets: Int[Tensor, " K"]
    code: PartCode
    seen: tuple[int, ...]

    def run(self, head: HeadPass) -> None:
        """See :class:`perigee.diffusion.crossentropy.Piece`."""
        device = head.bias.device
        classes = classes_of(self.code, self.seen, device)
        hidden = [part for part in range(len(self.code)) if part not in self.seen]
        parts = self.code.parts(self.targets)
        size, width = classes.members.shape[1], head.matrix.shape[1]
        for chosen, table in tabulate(
            classes.class_of[self.targets], chunk_rows(size, head.chunk_bytes)
        ):
            step = chunk_rows(size * max(table.shape[1], width), head.chunk_bytes)
            for some, cells in zip(
                torch.split(chosen, step), torch.split(table, step), strict=True
            ):
                # Everything about which cell holds what is settled here, on the CPU: no operation
                # of the device has a size that must be waited for.
                places = cells.clamp(min=0)
                lines = Lines(
                    some.to(device),
                    self.rows[places].to(device),
                    parts[places].to(device, torch.int32),
                    (cells >= 0).to(device),
                    (cells >= 0).flatten().nonzero().squeeze(1).to(device),
                )
                _class_losses(head, classes, lines, hidden)


def tabulate(
    groups: Int[Tensor, " K"], limit: int
) -> Iterator[tuple[Int[Tensor, " C"], Int[Tensor, "C T"]]]:
    """Arrange items in tables with a line for each group, so that groups go through together.

    Yields the groups of a table's lines, each at most once, and the items' indices, -1 where a
    line is shorter. Tables are at most ``limit`` wide: what a large group has left goes to the
    next table.
    """
    order = groups.argsort(stable=True)
    names, counts = torch.unique_consecutive(groups[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    width = _best_width(counts, limit)
    columns = torch.arange(width)
    while len(names):
        is_item = columns < counts[:, None]
        places = (starts[:, None] + columns).clamp(max=len(order) - 1)
        yield names, order[places].where(is_item, -1)
        more = counts > width
        names, starts, counts = names[more], starts[more] + width, counts[more] - width


def _best_width(counts: Int[Tensor, " G"], limit: int) -> int:
    """The power of two, at most ``limit``, with the cheapest tables: lines and their cells."""

    def cost(width: int) -> int:
        lines = int(((counts + width - 1) // width).sum())
        return lines * (LINE + width)

    widths: list[int] = [2**k for k in range(limit.bit_length())]
    return min(widths, key=cost)


@dataclass(frozen=True)
class Lines:
    """Rows arranged by class: C lines of T cells, on the device."""

    classes: Int[Tensor, " C"]
    rows: Int[Tensor, "C T"]
    parts: Int[Tensor, "C T R"]
    """All parts of the rows' true words."""
    is_row: Bool[Tensor, "C T"]
    """Cells that hold a row; the others repeat one of another class."""
    filled: Int[Tensor, " N"]
    """The same as indices into the flattened cells."""

    def collect(self, cells: Tensor) -> Tensor:
        """What the cells that hold a row hold, (N, ...)."""
        return cells.flatten(0, 1)[self.filled]


def _class_losses(head: HeadPass, classes: Classes, lines: Lines, hidden: list[int]) -> None:
    """Losses and gradients of rows that are arranged by class."""
    chosen, rows = lines.classes, lines.rows
    ids, is_member = classes.members[chosen], classes.is_member[chosen]
    matrix, states = embedding(ids, head.matrix), embedding(rows, head.states)
    bias = head.bias[ids].masked_fill_(~is_member, -torch.inf)
    logits = torch.bmm(states, matrix.mT).to(head.bias.dtype).add_(bias[:, None])
    slope = logits.clone()
    losses = len(hidden) * softmax_(slope)
    slope.mul_(len(hidden))
    for part in hidden:
        agrees = lines.parts[..., part, None] == classes.parts[chosen, None, :, part]
        shares = logits.masked_fill(~agrees, -torch.inf)
        losses = losses - softmax_(shares)
        slope.sub_(shares)
    head.losses[lines.collect(rows)] = lines.collect(losses.squeeze(-1))
    if head.grad_states is not None:
        # Empty cells hold another class's row, of which nothing agrees: NaN, so set, not scaled.
        is_empty = ~lines.is_row[..., None]
        slope = slope.mul_(head.weights[rows][..., None]).masked_fill_(is_empty, 0.0)
        _gather_class_gradient(head, lines, slope, states, ids, matrix)


def _gather_class_gradient(
    head: HeadPass,
    lines: Lines,
    slope: Float[Tensor, "C T K"],
    states: Float[Tensor, "C T D"],
    ids: Int[Tensor, "C K"],
    matrix: Float[Tensor, "C K D"],
) -> None:
    assert head.grad_states is not None
    assert head.grad_matrix is not None
    assert head.grad_bias is not None
    words = ids.flatten()
    # Classes do not overlap and each comes once in a table, so no two of these words are the same
    # but [PAD], which fills up and gets zeros: the order of the additions cannot matter.
    head.grad_bias.index_add_(0, words, slope.sum(1).flatten())
    slope = slope.to(matrix.dtype)
    by_state = torch.bmm(slope, matrix).to(head.bias.dtype)
    head.grad_states[lines.collect(lines.rows)] = lines.collect(by_state)
    by_word = torch.bmm(slope.mT, states).to(head.bias.dtype)
    head.grad_matrix.index_add_(0, words, by_word.flatten(0, 1))
