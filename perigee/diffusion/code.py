"""How a word's id divides into parts: residues of coprime moduli, or digits of a mixed base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from perigee.errors import SettingsError

CodeName = Literal["residues", "digits"]
HIDDEN = -1
"""Stands for a part that is not seen."""


@dataclass(frozen=True)
class PartCode:
    """Part j of id i is ``(i // divisors[j]) % moduli[j]``; all parts together determine i.

    Residues have divisors of 1 and rest on the Chinese remainder theorem; digits have the products
    of the lower bases.
    """

    moduli: tuple[int, ...]
    divisors: tuple[int, ...]
    vocabulary_size: int
    """Ids are ``range(vocabulary_size)``, special tokens included."""

    def __len__(self) -> int:
        """Number of parts, R."""
        return len(self.moduli)

    def parts(self, token_ids: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape R"]:
        """The parts of every id."""
        divisors = torch.tensor(self.divisors, device=token_ids.device)
        moduli = torch.tensor(self.moduli, device=token_ids.device)
        return token_ids.long().unsqueeze(-1) // divisors % moduli


def residue_code(moduli: tuple[int, ...], vocabulary_size: int) -> PartCode:
    """The code of ``i mod p`` for every modulus.

    Raises
    ------
    SettingsError
        If there are fewer than two moduli, two share a factor, or they cannot tell all ids apart.
    """
    _check_size(moduli, vocabulary_size)
    for first, second in combinations(moduli, 2):
        if math.gcd(first, second) != 1:
            raise SettingsError(
                f"moduli are {list(moduli)}: {first} and {second} share a factor",
                place="[diffusion] moduli",
                expected="numbers without a common factor",
            )
    return PartCode(moduli, (1,) * len(moduli), vocabulary_size)


def digit_code(bases: tuple[int, ...], vocabulary_size: int) -> PartCode:
    """The code of a number's digits, the lowest first, each in a base of its own.

    Raises
    ------
    SettingsError
        If there are fewer than two bases, or they cannot tell all ids apart.
    """
    _check_size(bases, vocabulary_size)
    divisors = tuple(math.prod(bases[:place]) for place in range(len(bases)))
    return PartCode(bases, divisors, vocabulary_size)


def code_named(name: CodeName, moduli: tuple[int, ...], vocabulary_size: int) -> PartCode:
    """The code that ``[diffusion] code`` names, of the given moduli or bases."""
    match name:
        case "residues":
            return residue_code(moduli, vocabulary_size)
        case "digits":
            return digit_code(moduli, vocabulary_size)


def _check_size(moduli: tuple[int, ...], vocabulary_size: int) -> None:
    product = math.prod(moduli)
    if len(moduli) < 2 or min(moduli) < 2 or product < vocabulary_size:
        raise SettingsError(
            f"moduli are {list(moduli)}, of product {product}",
            place="[diffusion] moduli",
            expected=f"two or more, each above 1, of product at least {vocabulary_size}",
            remedy="leave them empty to have them chosen",
        )
