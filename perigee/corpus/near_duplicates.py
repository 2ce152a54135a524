"""Texts that are nearly the same: the option ``[data] near_duplicates``.

Two texts are compared by their shingles, the runs of five words in lower case. The share that two
sets of shingles have in common (Jaccard's index) is estimated from 128 MinHash values each (Broder,
1997), good to about 0.04 near 0.8; a table by bands of four of them finds whom to compare with. It
misses 5 pairs in 10**8 that are alike by 0.8, one in 90 by 0.6, one in 8 by 0.5. Both are those of
``rensa``, in Rust: 690 MB of text a second here; cutting the shingles takes twenty times as long.

Costs about 2 kB of memory a document that is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rensa import RMinHash

SHINGLE_WORDS = 5
HASHES = 128
_BANDS = 32


class NearDuplicates:
    """Remembers texts by their sketches, and knows those that are like one of them.

    Parameters
    ----------
    threshold:
        Jaccard's index of the shingles, as estimated, from which on texts are near duplicates.
    seed:
        Decides the hash functions.
    """

    def __init__(self, threshold: float, seed: int) -> None:
        from rensa import RMinHashDeduplicator

        self.threshold = threshold
        self.seed = seed
        self._kept = RMinHashDeduplicator(
            threshold=threshold, num_perm=HASHES, use_lsh=True, num_bands=_BANDS, seed=seed
        )
        self._count = 0

    def recipe(self) -> dict[str, Any]:
        """What decides which texts are left out."""
        from rensa import RMinHash

        return {
            "threshold": self.threshold,
            "shingle_words": SHINGLE_WORDS,
            "hashes": HASHES,
            "bands": _BANDS,
            "seed": self.seed,
            "method": f"rensa.RMinHash {RMinHash.ALGORITHM_VERSION}",
        }

    def sketch(self, line: bytes) -> RMinHash:
        """The sketch of a clean line."""
        from rensa import RMinHash

        sketch = RMinHash(num_perm=HASHES, seed=self.seed)
        sketch.update(shingles(line))
        return sketch

    def holds(self, sketch: RMinHash) -> bool:
        """Whether a text that was kept is like it."""
        return bool(self._kept.is_duplicate(str(self._count), sketch))

    def alike(self, one: RMinHash, other: RMinHash) -> bool:
        """Whether two texts are near duplicates."""
        return bool(one.jaccard(other) >= self.threshold)

    def add(self, sketch: RMinHash) -> None:
        """Keep a text that is like none of the others."""
        self._kept.add(str(self._count), sketch)
        self._count += 1


def shingles(line: bytes) -> list[bytes]:
    """All runs of five words in lower case; of a shorter line, the line."""
    words = line.decode("utf-8").lower().encode("utf-8").split(b" ")
    if len(words) <= SHINGLE_WORDS:
        return [b" ".join(words)]
    runs = (words[start:] for start in range(SHINGLE_WORDS))
    return list(map(b" ".join, zip(*runs, strict=False)))
