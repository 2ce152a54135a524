"""Marginals over strided classes against a plain softmax over all words, loop by loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from perigee.diffusion.absorbing import FIRST_WORD
from perigee.diffusion.code import PartCode, digit_code, residue_code
from perigee.diffusion.crossentropy import HeadPass, Piece, WholeWords, head_loss
from perigee.diffusion.marginals import AllHidden, SomeSeen, classes_of, tabulate

CODES = [
    residue_code((5, 7), 31),
    residue_code((2, 3, 7), 31),
    residue_code((2, 3, 5, 7), 31),
    digit_code((6, 6), 31),
    digit_code((2, 5, 4), 31),
]
WIDTH, VOCABULARY = 5, 31


def plain_loss(logits: Tensor, target: int, code: PartCode, is_hidden: tuple[bool, ...]) -> Tensor:
    """The oracle: a full softmax, restricted and summed word by word."""
    truth = [target // d % m for d, m in zip(code.divisors, code.moduli, strict=True)]
    probabilities = logits.softmax(-1)

    def mass(fixed: list[int]) -> Tensor:
        return sum(
            (
                probabilities[i]
                for i in range(FIRST_WORD, VOCABULARY)
                if all(i // code.divisors[j] % code.moduli[j] == truth[j] for j in fixed)
            ),
            torch.zeros(()).double(),
        )

    seen = [j for j in range(len(code)) if not is_hidden[j]]
    terms = [mass(seen).log() - mass([*seen, j]).log() for j in range(len(code)) if is_hidden[j]]
    return torch.stack(terms).sum()


def random_rows(
    code: PartCode, count: int, seed: int, skew: bool = False
) -> tuple[list[Tensor], Tensor, list[tuple[bool, ...]]]:
    source = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()
        for shape in ((count, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    ]
    targets = torch.randint(FIRST_WORD, VOCABULARY, (count,), generator=source)
    if skew:
        targets[count // 3 :] = 5
    patterns = [p for p in product((False, True), repeat=len(code)) if any(p)]
    chosen = torch.randint(len(patterns), (count,), generator=source).tolist()
    return tensors, targets, [patterns[i] for i in chosen]


def pieces_for(code: PartCode, targets: Tensor, is_hidden: list[tuple[bool, ...]]) -> list[Piece]:
    pieces: list[Piece] = []
    for pattern in set(is_hidden):
        rows = torch.tensor([row for row, own in enumerate(is_hidden) if own == pattern])
        seen = tuple(j for j, hidden in enumerate(pattern) if not hidden)
        piece = SomeSeen(rows, targets[rows], code, seen) if seen else None
        pieces.append(piece or AllHidden(rows, targets[rows], code))
    return pieces


@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 2000, 2**20])
@pytest.mark.parametrize("code", CODES, ids=str)
def test_losses_and_gradients_are_those_of_the_full_softmax(
    code: PartCode, chunk_bytes: int, skew: bool
) -> None:
    tensors, targets, is_hidden = random_rows(code, 40, seed=3, skew=skew)
    weights = torch.linspace(0.1, 4.0, 40, dtype=torch.float64)
    hidden, matrix, bias = tensors
    logits = hidden @ matrix.T + bias
    plain = torch.stack(
        [plain_loss(logits[i], int(targets[i]), code, is_hidden[i]) for i in range(40)]
    )
    expected = torch.autograd.grad(plain @ weights, tensors)
    total, losses = head_loss(
        hidden, matrix, bias, weights, pieces_for(code, targets, is_hidden), chunk_bytes
    )
    torch.testing.assert_close(losses, plain.detach())
    torch.testing.assert_close(total, plain @ weights)
    found = torch.autograd.grad(total, tensors)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-9)


def test_whole_words_and_parts_share_one_pass() -> None:
    code = CODES[1]
    tensors, targets, is_hidden = random_rows(code, 20, seed=4)
    weights = torch.ones(20, dtype=torch.float64)
    rows = torch.arange(20, 30)
    more = torch.cat((tensors[0], tensors[0][:10]))
    words = WholeWords(rows, targets[:10])
    parts = pieces_for(code, targets, is_hidden)
    weights = torch.cat((weights, weights[:10]))
    _, losses = head_loss(more, *tensors[1:], weights, [words, *parts])
    _, alone = head_loss(*tensors, weights[:20], parts)
    torch.testing.assert_close(losses[:20], alone)
    logits = tensors[0][:10] @ tensors[1].T + tensors[2]
    expected = -logits[:, FIRST_WORD:].log_softmax(-1).gather(1, targets[:10, None] - FIRST_WORD)
    torch.testing.assert_close(losses[20:], expected.squeeze(1).detach())


def test_the_last_hidden_part_costs_what_the_word_costs_among_those_that_agree() -> None:
    code = residue_code((5, 7), 31)
    tensors, _, _ = random_rows(code, 1, seed=5)
    target = torch.tensor([18])
    rows = torch.zeros(1, dtype=torch.long)
    _, losses = head_loss(*tensors, torch.ones(1), [SomeSeen(rows, target, code, (0,))])
    logits = (tensors[0] @ tensors[1].T + tensors[2])[0]
    agree = [i for i in range(FIRST_WORD, 31) if i % 5 == 3]
    expected = logits[agree].logsumexp(0) - logits[18]
    torch.testing.assert_close(losses[0], expected.detach())


@pytest.mark.parametrize("code", CODES, ids=str)
def test_classes_partition_the_words_by_what_is_seen(code: PartCode) -> None:
    for seen in ((0,), (1,), (0, 1)):
        classes = classes_of(code, seen, torch.device("cpu"))
        found = sorted(classes.members[classes.is_member].tolist())
        assert found == list(range(FIRST_WORD, VOCABULARY))
        for i in range(FIRST_WORD, VOCABULARY):
            own = classes.class_of[i]
            members = classes.members[own][classes.is_member[own]]
            agree = (code.parts(torch.arange(VOCABULARY)) == code.parts(torch.tensor(i)))[:, seen]
            expected = [m for m in range(FIRST_WORD, VOCABULARY) if bool(agree[m].all())]
            assert members.tolist() == expected


def test_a_residues_class_is_a_strided_slice() -> None:
    code = residue_code((29, 41, 43), 50_005)
    for seen, stride in (((0,), 29), ((1, 2), 41 * 43)):
        classes = classes_of(code, seen, torch.device("cpu"))
        own = classes.class_of[1000]
        members = classes.members[own][classes.is_member[own]]
        assert members.tolist() == list(range(1000 % stride, 50_005, stride))
        assert classes.members.shape[1] == math.ceil(50_005 / stride)


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.integers(0, 6), max_size=60),
    limit=st.integers(1, 20),
)
def test_tables_hold_every_item_once_in_a_line_of_its_group(groups: list[int], limit: int) -> None:
    items = []
    for names, table in tabulate(torch.tensor(groups, dtype=torch.long), limit):
        assert len(set(names.tolist())) == len(names) == len(table)
        assert table.shape[1] <= limit
        for name, line in zip(names.tolist(), table.tolist(), strict=True):
            own = [item for item in line if item >= 0]
            assert all(groups[item] == name for item in own)
            items += own
    assert sorted(items) == list(range(len(groups)))


def test_half_precision_keeps_float32_sums() -> None:
    code = CODES[1]
    tensors, targets, is_hidden = random_rows(code, 40, seed=6)
    single = [t.detach().float().requires_grad_() for t in tensors]
    pieces = pieces_for(code, targets, is_hidden)
    exact, _ = head_loss(*single, torch.ones(40), pieces)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, losses = head_loss(*single, torch.ones(40), pieces)
    assert losses.dtype == torch.float32
    assert 0 < abs((total - exact).item()) < 0.02 * exact.item()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, single))


def test_few_cells_stay_empty_even_where_one_word_is_every_tenth() -> None:
    groups = torch.cat([torch.full((600 // (rank + 1),), rank) for rank in range(200)])
    tables = [table for _, table in tabulate(groups, 10**6)]
    assert sum(len(table) for table in tables) < 2 * 200
    assert len(groups) <= sum(table.numel() for table in tables) < 2.5 * len(groups)


class _Watch(TorchDispatchMode):
    """Remembers the size of the largest float64 tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype == torch.float64:
            self.most = max(self.most, out.numel())
        return out


@dataclass
class _Watched:
    """A piece, and what it made."""

    piece: Piece
    watch: _Watch

    def run(self, head: HeadPass) -> None:
        with self.watch:
            self.piece.run(head)


@pytest.mark.parametrize("seen", [(0,), (1, 2)])
def test_positions_that_show_a_part_never_see_all_logits(seen: tuple[int, ...]) -> None:
    code = residue_code((7, 11, 13), 1000)
    source = torch.Generator().manual_seed(1)
    shapes = ((30, 2), (1000, 2), (1000,))
    tensors = [torch.randn(s, generator=source, dtype=torch.float64) for s in shapes]
    targets = torch.randint(FIRST_WORD, 1000, (30,), generator=source)
    watched = _Watched(SomeSeen(torch.arange(30), targets, code, seen), _Watch())
    head_loss(*tensors, torch.ones(30).double(), [watched])
    members = math.ceil(1000 / math.prod(code.moduli[j] for j in seen))
    assert members <= watched.watch.most <= 2 * 30 * members * 2 < 30 * 1000
