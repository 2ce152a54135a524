"""Where spaces stand between words: punctuation is put back where a reader expects it.

The rules never join what would be split differently again: splitting the written text gives the
words it was written from.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_BEFORE_NOTHING = frozenset(".,;:!?…%)]}”’»、。，！？；：）」』】〉》°™®")
"""Stand without a space after what comes before them."""
_AFTER_NOTHING = frozenset("([{“«‘„¿¡$£€#@（「『【〈《")
"""Stand without a space before what comes after them."""
_JOINING = frozenset("-–—/‐‑")
"""Between two words, stand without spaces; also in a row, as in a dash written ``--``."""
_PAIRED = frozenset("\"_`*'")
"""The same character opens and closes: which it does is decided by counting."""
_APOSTROPHES = frozenset("'’")
_QUOTATION = 12
"""Words after an apostrophe among which another one makes the two a quotation."""


def attachments(words: Sequence[str]) -> list[bool]:
    """For every word, whether it stands without a space after the one before it.

    Parameters
    ----------
    words:
        Words as the vocabulary spells them; anything else (``[???]``) counts as a word.
    """
    attached = [False] * len(words)
    open_pairs: set[str] = set()
    hugs_next = True  # at the beginning there is nothing to stand apart from
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        hugs_before = hugs_next
        hugs_next = False
        if word in _PAIRED:
            if word in open_pairs or (word == "'" and _belongs_before(words, place)):
                open_pairs.discard(word)
                hugs_before = place > 0
            else:
                open_pairs.add(word)
                hugs_next = True
        elif word in _JOINING:
            if _is_run(before) or before in _JOINING or before in _BEFORE_NOTHING:
                hugs_before = hugs_next = _is_run(after) or after in _JOINING
        elif word in _BEFORE_NOTHING:
            hugs_before = True
            hugs_next = _inside_number(before, word, after)
        elif word in _AFTER_NOTHING:
            hugs_next = True
        attached[place] = place > 0 and hugs_before and not _would_merge(words, place, attached)
    return attached


def join_words(words: Sequence[str]) -> str:
    """The words as one line of text."""
    parts = (
        word if is_attached or not place else " " + word
        for place, (word, is_attached) in enumerate(zip(words, attachments(words), strict=True))
    )
    return "".join(parts)


def _belongs_before(words: Sequence[str], place: int) -> bool:
    """Whether an apostrophe ends the word before it (the dogs' tails), and opens no quotation."""
    before = words[place - 1] if place else ""
    if not _is_run(before):
        return False
    return before.endswith("s") or "'" not in words[place + 1 : place + _QUOTATION]


def _inside_number(before: str, mark: str, after: str) -> bool:
    """3.5, 10:30 and 1,000: not the end of a sentence or of a clause."""
    if not (before.isdecimal() and after.isdecimal()):
        return False
    return mark == "." or (mark == ":" and len(after) == 2) or (mark == "," and len(after) == 3)


def _is_run(word: str) -> bool:
    """Whether ``word`` is letters or digits, or stands for some.

    Characters of which this Python does not know what they are count as letters: a space too many
    does no harm.
    """
    return len(word) > 1 or word.isalnum() or unicodedata.category(word or " ") == "Cn"


def _is_mark(word: str) -> bool:
    """Whether ``word`` is a combining mark, which would join the character before it."""
    return unicodedata.category(word[:1] or " ").startswith("M")


def _would_merge(words: Sequence[str], place: int, attached: Sequence[bool]) -> bool:
    """Whether writing a word without a space would change what is split off here."""
    word, before = words[place], words[place - 1]
    if _is_mark(word):
        return True
    if not _is_run(word):
        return False
    if before in _APOSTROPHES and place > 1 and attached[place - 1]:
        return _is_run(words[place - 2]) or _is_mark(words[place - 2])
    return _is_run(before)
