"""Words to ids and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from perigee.errors import ArtifactError, GenerationError
from perigee.tokenizer.prime import (
    BOS,
    EOS,
    MASK,
    PAD,
    SPECIAL_TOKENS,
    UNK,
    PrimeTokenizer,
    first_primes,
)
from perigee.tokenizer.words import split_words

SENTENCE = (
    'He said: "I don’t _know_ (yet)." Naïve?! 1,000 — the dogs\' tails: mask pad [ ] i.e. ½ हिन्दी'
)
SMALL = PrimeTokenizer((*SPECIAL_TOKENS, *dict.fromkeys(split_words(SENTENCE))))


def of_text(text: str) -> PrimeTokenizer:
    return PrimeTokenizer((*SPECIAL_TOKENS, *dict.fromkeys(split_words(text))))


def test_special_tokens_are_the_first_ids():
    assert SPECIAL_TOKENS == ("[PAD]", "[MASK]", "[UNK]", "[BOS]", "[EOS]")
    assert [PAD, MASK, UNK, BOS, EOS] == [0, 1, 2, 3, 4]


def test_encode():
    ids = SMALL.encode("He said nothing, [PAD]")
    assert ids.dtype == np.uint16
    words = ["he", "said", "[UNK]", ",", "[", "pad", "]"]
    assert [SMALL.tokens[i] for i in ids] == words
    assert len(SMALL.encode("")) == 0


@settings(deadline=None)
@given(st.text())
@example(SENTENCE)
@example("a ’ s")
def test_decoded_ids_encode_to_themselves(text: str):
    tokenizer = of_text(text)
    ids = tokenizer.encode(text)
    assert UNK not in ids
    np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)


@settings(deadline=None)
@given(st.lists(st.integers(len(SPECIAL_TOKENS), len(SMALL) - 1), max_size=60))
def test_any_sequence_of_words_survives(ids: list[int]):
    assert SMALL.encode(SMALL.decode(ids)).tolist() == ids


@settings(deadline=None)
@given(st.lists(st.integers(len(SPECIAL_TOKENS), len(SMALL) - 1) | st.just(MASK), max_size=40))
def test_prompts_survive_with_their_places(ids: list[int]):
    text = SMALL.decode(ids)
    assert SMALL.encode_prompt(text).tolist() == ids


@settings(deadline=None)
@given(st.text())
@example("[PAD] [UNK] [mask] [MASK]")
def test_the_exported_tokenizer_gives_the_same_ids(text: str):
    assume(not any(0xD800 <= ord(c) <= 0xDFFF for c in text))
    exported = Tokenizer.from_str(EXPORTED)
    assert exported.encode(text).ids == SMALL.encode(text).tolist()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    SMALL.save(directory)
    return directory


def test_saved_and_loaded(saved: Path):
    assert sorted(p.name for p in saved.iterdir()) == ["perigee_vocab.json", "tokenizer.json"]
    assert json.loads((saved / "perigee_vocab.json").read_text("utf-8")) == list(SMALL.tokens)
    loaded = PrimeTokenizer.load(saved / "perigee_vocab.json")
    assert loaded == SMALL
    assert loaded.fingerprint == SMALL.fingerprint != of_text("a").fingerprint
    library = Tokenizer.from_file(str(saved / "tokenizer.json"))
    assert library.encode(SENTENCE).ids == SMALL.encode(SENTENCE).tolist()
    assert library.get_vocab() == SMALL.ids


def _exported() -> str:
    from perigee.tokenizer.vocabulary_file import library_tokenizer

    return str(library_tokenizer(SMALL.tokens).to_str())


EXPORTED = _exported()


def test_decoding_special_tokens():
    he, said = SMALL.encode("he said")
    ids = [BOS, he, MASK, said, UNK, EOS, BOS, said, EOS, PAD, PAD]
    assert SMALL.decode(ids) == "he [MASK] said [UNK]\nsaid"
    assert SMALL.decode(np.array([], dtype=np.uint16)) == ""


@pytest.mark.parametrize("ids", [[-1], [len(SMALL)], [5, 70_000]])
def test_decoding_what_is_no_id(ids: list[int]):
    with pytest.raises(ValueError, match="not in 0"):
        SMALL.decode(ids)


def test_prompts():
    ids, written = SMALL.read_prompt("He [MASK:3]said, [MASK] Caesar")
    assert written == ["he", *["[MASK]"] * 3, "said", ",", "[MASK]", "caesar"]
    assert ids.tolist()[1:4] == [MASK] * 3
    assert ids.tolist()[-1] == UNK
    assert len(SMALL.encode_prompt("[MASK:0]")) == 0
    assert SMALL.encode_prompt("[mask]").tolist() == SMALL.encode("[mask]").tolist()


def test_a_prompt_with_too_many_places():
    with pytest.raises(GenerationError, match="MASK:999999"):
        SMALL.encode_prompt("he [MASK:999999]")


def test_primes_against_trial_division():
    slow = [n for n in range(2, 8_000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    for count in (1, 2, 5, 6, 7, 1_000):
        assert first_primes(count).tolist() == slow[:count]
    assert first_primes(50_000)[-1] == 611_953


def test_primes_are_a_bijection():
    primes = [SMALL.prime(i) for i in range(len(SMALL))]
    assert primes[:6] == [2, 3, 5, 7, 11, 13]
    assert [SMALL.id_of_prime(p) for p in primes] == list(range(len(SMALL)))
    for wrong in (0, 1, 4, primes[-1] + 1, 10**6):
        with pytest.raises(ValueError, match="not the prime of a word"):
            SMALL.id_of_prime(wrong)
    for wrong in (-1, len(SMALL)):
        with pytest.raises(ValueError, match="is not in 0"):
            SMALL.prime(wrong)


def test_the_code_covers_the_vocabulary():
    assert SMALL.code().vocabulary_size == len(SMALL)
    assert SMALL.code((13, 11)).moduli == (13, 11)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not a vocabulary"),
        ('["a", 3]', "is not a vocabulary"),
        ('["a", "b"]', "begins with"),
        (json.dumps([*SPECIAL_TOKENS, "a", "b", "a"]), "holds 'a' twice"),
        (json.dumps([*SPECIAL_TOKENS, *map(str, range(65_532))]), "holds 65537 words"),
        ("[", "cannot be read as JSON"),
    ],
)
def test_files_that_are_no_vocabulary(content: str, message: str, tmp_path: Path):
    path = tmp_path / "perigee_vocab.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=message):
        PrimeTokenizer.load(path)


def test_a_missing_vocabulary(tmp_path: Path):
    with pytest.raises(ArtifactError, match="no such file"):
        PrimeTokenizer.load(tmp_path / "perigee_vocab.json")
