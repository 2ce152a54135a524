"""The vocabulary's two files: a JSON array of words, and ``tokenizer.json`` for other tools."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models

from perigee.errors import ArtifactError
from perigee.files import atomic_file, read_json
from perigee.tokenizer.words import normalizer, splitter

PAD, MASK, UNK, BOS, EOS = range(5)
SPECIAL_TOKENS = ("[PAD]", "[MASK]", "[UNK]", "[BOS]", "[EOS]")
"""Padding, a hidden word, an unknown word, a document's beginning and its end: ids 0 to 4."""
MAXIMUM_SIZE = 65_536
"""Ids are kept in 16 bits."""


def tokenizer_path(vocab_path: Path) -> Path:
    """Where the ``tokenizer.json`` of a vocabulary stands."""
    stem = vocab_path.stem.removesuffix("_vocab")
    name = "tokenizer.json" if vocab_path.stem == "perigee_vocab" else f"{stem}_tokenizer.json"
    return vocab_path.with_name(name)


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The words of a vocabulary file in the order of their ids.

    Raises
    ------
    ArtifactError
        If it is missing or is not an array of distinct words that begins with the special tokens.
    """
    words = read_json(path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ArtifactError("is not a vocabulary", place=path, expected="a JSON array of words")
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise ArtifactError(
            f"begins with {words[: len(SPECIAL_TOKENS)]}",
            place=path,
            expected=", ".join(SPECIAL_TOKENS),
        )
    twice, count = Counter(words).most_common(1)[0]
    if count > 1:
        raise ArtifactError(f"holds {twice!r} twice", place=path, expected="distinct words")
    if len(words) > MAXIMUM_SIZE:
        raise ArtifactError(
            f"holds {len(words)} words", place=path, expected=f"at most {MAXIMUM_SIZE}"
        )
    return tuple(words)


def write_vocabulary(path: Path, tokens: Sequence[str]) -> tuple[Path, Path]:
    """Write the array and beside it the ``tokenizer.json`` that gives the same ids; both paths."""
    exported = tokenizer_path(path)
    with atomic_file(exported) as aside:
        aside.write_text(library_tokenizer(tokens).to_str(pretty=True), encoding="utf-8")
    with atomic_file(path) as aside:
        aside.write_text(json.dumps(list(tokens), ensure_ascii=False, indent=0), encoding="utf-8")
    return path, exported


def library_tokenizer(tokens: Sequence[str]) -> Tokenizer:
    """The same tokenizer in the ``tokenizers`` library.

    The special tokens are ordinary entries that no text can spell: were they registered as added
    tokens, a page with ``[EOS]`` in it would end its document there.
    """
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNK]))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = splitter()
    return tokenizer
