"""Pieces of text looked up in a table, against splitting the whole text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_corpora import write_raw

from perigee.errors import ArtifactError
from perigee.observer import ListObserver, SilentObserver
from perigee.tokenizer import blocks, pieces
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.pieces import PieceTable, find_pieces
from perigee.tokenizer.words import split_words

END = 10_000
TEXTS = st.lists(st.text("aB' ’漢é.\u0301\t\n", max_size=30), min_size=1, max_size=6)


class Spelled(dict[str, int]):
    """Numbers words as they come."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def slow_numbers(text: str, numbering: Spelled) -> list[int]:
    numbers = []
    for line in text.split("\n")[:-1]:
        numbers += [numbering[word] for word in split_words(line)] + [END, END + 1]
    return numbers


@settings(deadline=None)
@given(TEXTS, st.sampled_from([0, 3, 1 << 20]), st.sampled_from([1, 4, 64]))
def test_rows_give_the_numbers_of_the_words(texts: list[str], kept: int, longest: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_KEPT", kept)
        patch.setattr(pieces, "_LONGEST_KEPT", longest)
        numbering = Spelled()
        table = PieceTable(numbering, line_end=(END, END + 1))
        for text in texts:
            found = find_pieces(f"{text}\n".encode())
            rows = table.rows(found.distinct)
            assert rows.expand(found.indices).tolist() == slow_numbers(f"{text}\n", numbering)
            assert b"".join(found.distinct[i] for i in found.indices) == f"{text}\n".encode()
            assert len(set(found.distinct)) == len(found.distinct)


def test_a_line_end_is_a_piece_of_its_own():
    found = find_pieces(b"a b\n\n a ")
    assert [found.distinct[i] for i in found.indices] == [b"a ", b"b", b"\n", b"\n", b" ", b"a "]


def test_text_that_is_not_utf8():
    with pytest.raises(ArtifactError, match="not UTF-8"):
        PieceTable(Spelled()).rows([b"\xff "])


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=60).map(lambda data: data.replace(b"\r", b" ")), st.integers(1, 9))
def test_blocks_join_to_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int):
    raw = tmp_path_factory.mktemp("blocks") / "x.raw"
    raw.write_bytes(data + b"!")
    observer = ListObserver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", size)
        found = [
            piece
            for block in RawReader(raw).pieces("a test", observer)
            for piece in (block.distinct[i] for i in block.indices)
        ]
    assert b"".join(found) == data + b"!\n"
    assert observer.steps[-1][1:] == (len(data) + 1, len(data) + 1, "bytes")


def test_the_manifest_is_compared_behind_the_last_block(tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", ["a b", "c"], ["pg19", "pg19"])
    assert len(list(RawReader(raw).pieces("a test", SilentObserver()))) == 1
    raw.write_bytes(b"a b\nd\n")
    read = RawReader(raw).pieces("a test", SilentObserver())
    assert np.count_nonzero(next(read).indices) > 0
    with pytest.raises(ArtifactError, match="does not hold what its manifest says"):
        next(read)
