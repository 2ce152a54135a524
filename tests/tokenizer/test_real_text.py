"""Real books and pages: the exported tokenizer's ids, and text that comes back."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from tokenizer_corpora import write_raw
from tokenizers import Tokenizer

from perigee.tokenizer.prime import BOS, EOS, UNK, PrimeTokenizer
from perigee.tokenizer.vocabulary import build_vocabulary
from perigee.tokenizer.windows import Windows, build_windows

BOOK_CHARACTERS = 100_000
PAGES = 60

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """The beginnings of the validation books, and some pages of every month, on one line each."""
    if not (name := os.environ.get("PERIGEE_DEV_DATA")):
        pytest.skip("PERIGEE_DEV_DATA is not set")
    root = Path(name)
    shard = next((root / "pg19/data").glob("validation-*.parquet"))
    texts = [text[:BOOK_CHARACTERS] for text in pq.read_table(shard)["text"].to_pylist()]
    with tarfile.open(root / "openwebtext2.jsonl.zst.tar") as tar:
        for member in tar:
            reader = zstandard.ZstdDecompressor().stream_reader(tar.extractfile(member))
            lines = io.TextIOWrapper(reader, encoding="utf-8").readlines()
            texts += [json.loads(line)["text"] for line in lines[:: max(len(lines) // PAGES, 1)]]
    return [" ".join(text.split()) for text in texts]


@pytest.fixture(scope="module")
def directory(documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("real")
    raw = write_raw(directory / "x.train.raw", documents)
    vocabulary = directory / "perigee_vocab.json"
    build_vocabulary(raw, vocabulary, 20_000)
    lengths = {"sequence_length": 256, "stride": 256, "max_sequences": 0, "seed": 0}
    build_windows(raw, vocabulary, directory / "x.train.arrow", **lengths)
    return directory


def test_ids_are_those_of_the_exported_tokenizer(documents: list[str], directory: Path):
    exported = Tokenizer.from_file(str(directory / "tokenizer.json"))
    expected = [
        number
        for encoding in exported.encode_batch(documents)
        for number in (BOS, *encoding.ids, EOS)
    ]
    found = Windows.open(directory / "x.train.arrow").tokens.ravel()
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert not found[len(expected) :].any()
    assert len(expected) > 150_000


def test_windows_come_back_from_their_text(directory: Path):
    tokenizer = PrimeTokenizer.load(directory / "perigee_vocab.json")
    windows = Windows.open(directory / "x.train.arrow").tokens[::4]
    for ids in windows:
        words = ids[ids > EOS]
        text = tokenizer.decode(words)
        np.testing.assert_array_equal(tokenizer.encode(text), words, err_msg=text[:500])
    assert (windows == UNK).mean() < 0.1
