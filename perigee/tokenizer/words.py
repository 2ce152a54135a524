"""What a word is: the one definition, as a normaliser and a splitter of the ``tokenizers`` library.

A word is a run of letters and digits of any script, with the marks that belong to them and with
inner apostrophes (``don't``; a typographic one counts as the plain one). Every other character
that is not white space is a word of its own, ``_`` among them. Letters are lower-cased.
"""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Regex, normalizers, pre_tokenizers

CODE_VERSION = "1"

_RUN = r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*"
WORD_PATTERN = rf"{_RUN}(?:'{_RUN})*|\S"
"""A word of normalised text, in the syntax of Oniguruma."""
_INNER_APOSTROPHE = r"(?<=[\p{L}\p{N}\p{M}])’(?=[\p{L}\p{N}])"


@lru_cache(maxsize=1)
def normalizer() -> normalizers.Normalizer:
    """NFC, lower case, and plain inner apostrophes."""
    # NFC twice: a lower-case letter may compose where its capital does not (J and a caron).
    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.NFC(),
            normalizers.Replace(Regex(_INNER_APOSTROPHE), "'"),
        ]
    )


@lru_cache(maxsize=1)
def splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts normalised text into words; what is between them (white space) is dropped."""
    return pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)


def normalise(text: str) -> str:
    """``text`` in the form in which it is split. Lone surrogates, which are no characters, go."""
    return str(normalizer().normalize_str(text.encode("utf-8", "ignore").decode("utf-8")))


def split_words(text: str) -> list[str]:
    """The words of ``text``, normalised, in order."""
    return [word for word, _ in splitter().pre_tokenize_str(normalise(text))]
