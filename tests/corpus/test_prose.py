"""The filter that lets English through and nothing else."""

from __future__ import annotations

import pytest

from perigee.corpus.prose import is_english, prose_paragraphs

NUMPY_STYLE = """
Return the sum of the elements along an axis, and keep the shape of all the others.

The sum is taken in pairs, which is why it is more exact than a naive loop. See
:func:`~numpy.add.reduce` or `the manual <https://numpy.org>`_ for what ``initial`` does [1]_.

Parameters
----------
a : array_like
    The elements that are to be summed, in any order that suits the one who calls it.
axis : int, optional
    axis along which
out : ndarray
    x = 3

.. versionadded:: 1.7
    This sentence belongs to the directive and should never be seen by anyone at all.

.. note:: A note is prose too, and it is kept because people like to read it in passing.

>>> np.sum([0.5, 1.5])
2.0

Here follows an example of how the function can be called by the user of the library::

    This Block Is Code, and it is not to be read as a sentence by the one who learns.

.. math:: a = b
"""


def paragraphs(text: str) -> list[str]:
    return [" ".join(sentences) for sentences in prose_paragraphs(text)]


def test_prose_of_a_numpy_docstring():
    assert paragraphs(NUMPY_STYLE) == [
        "Return the sum of the elements along an axis, and keep the shape of all the others.",
        "The sum is taken in pairs, which is why it is more exact than a naive loop. See reduce or "
        "the manual for what initial does.",
        "The elements that are to be summed, in any order that suits the one who calls it.",
        "A note is prose too, and it is kept because people like to read it in passing.",
    ]


def test_fields_and_items_become_paragraphs_of_their_own():
    text = """Args:
        name (str): The name under which the value is kept until it is wanted again.
        other: lower case and short

    * The first item of this list is a sentence of its own,
      and it goes on in a second line.
    - The second one stands beside it, and it is just as long as the first.
    :param bind: The engine to which all of the statements are sent in their order.
    """
    assert paragraphs(text) == [
        "The name under which the value is kept until it is wanted again.",
        "The first item of this list is a sentence of its own, and it goes on in a second line.",
        "The second one stands beside it, and it is just as long as the first.",
        "The engine to which all of the statements are sent in their order.",
    ]


def test_names_of_code_are_read_as_words():
    text = "Call :meth:`.Session.add_all` or *the* ``flush_now()`` when a session is to be written."
    assert paragraphs(text) == ["Call add all or the flush now when a session is to be written."]


@pytest.mark.parametrize(
    "sentence",
    [
        "This function returns the number of items that were found.",
        "It isn't used by Python's own parser, is it?",
        '"Nothing" is what the caller gets (at least for now).',
    ],
)
def test_sentences_pass(sentence: str):
    assert is_english(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "returns the number of items that were found.",
        "This function returns the number of items",
        "The value is x = 3 for all of them.",
        "See https://example.org for the rest of it.",
        "Copyright Alice Bob Carol Dave Erin Frank.",
        "The list [a, b] is what you get.",
        "The file is in /usr//share for all of them.",
        "The parenthesis (is never closed in this one.",
        'The quote "is never closed in this one.',
        "It is so.",
        "The values 1 2 3 4 5 6 7 are in it.",
        "A b c d e f g h is the list of it.",
    ],
)
def test_what_is_no_sentence_is_dropped(sentence: str):
    assert not is_english(sentence)
