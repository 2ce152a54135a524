"""Running prose out of documentation strings: what is left reads as English, the rest is dropped.

A documentation string mixes sentences with examples, parameter tables, field lists, directives
and formulas. Blocks that are known not to be prose are cut by their markup; what remains is
judged sentence by sentence, so that one formula does not cost a paragraph.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

MINIMUM_PARAGRAPH_WORDS = 12
"""Shorter paragraphs are captions and one-line summaries, hundreds of which sound the same."""

_TABLE_SECTION = re.compile(
    r"\s*(?:(?:other |keyword )?(?:parameters|arguments|args|attributes|inputs?|outputs?|type)"
    r"|kwargs|returns?|yields|receives|raises?|throws|warns|methods|properties|shape|see also"
    r"|references?|examples?|usage|warnings|todo)[\s:]*",
    re.IGNORECASE,
)
_PROSE_DIRECTIVE = re.compile("note|warning|tip|important|caution|hint|attention|admonition")
_UNDERLINE = re.compile(r"^\s*([=\-~^*#\"'+_.])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"^\s*\.\.(?:\s+([\w:-]+?)::\s*(.*)|\s.*|)$")
_SECTION = re.compile(r"^\s*[A-Z][A-Za-z ]{2,30}:\s*$")
_ITEM = re.compile(r"^\s*(?:[*+•-]|\(?\d{1,2}[.)]|\(?[a-z][)])\s+")
_CODE_LINE = re.compile(r"^\s*(?:>>>|\.\.\.|In \[|\$ |% |@\w)")
_FIELD = re.compile(r"^\s*(?::[a-zA-Z][^:]*:|\*{0,2}\w+(?: \([^)]*\))?:)(?:\s+|$)")
_QUOTED = (
    (re.compile(r"``(.+?)``", re.S), r"\1"),
    (re.compile(r":(?:math|eq):`[^`]*`"), "="),
    (re.compile(r"(?::[\w+-]+)+:`[^`<]*?([^`<]+?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r"(?::[\w+-]+)+:`[~.!]*(?:[\w.]*\.)?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),
    (re.compile(r"`([^`]+)`_{0,2}"), r"\1"),
)
"""Markup between backquotes; a formula becomes a character that no sentence may hold."""
_INLINE = (
    (re.compile(r"\[([^\]\[]+)\]\((?:https?:|#)[^)]*\)"), r"\1"),
    (re.compile(r"\s?\[[\w#*]{1,12}\]_|\s\[\d{1,2}\]"), ""),
    (re.compile(r"(?<![\w*])\*{1,2}([\w(][^*\n]*?)\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_([a-zA-Z][^_\n]*?)_(?!\w)"), r"\1"),
    (re.compile(r"(?<![\w.])\.?(?:[A-Za-z_]\w+\.)+([A-Za-z_]\w+)(?!\.?\w)"), r"\1"),
    (re.compile(r"\b([A-Za-z]\w*)\(\)"), r"\1"),
    (re.compile(r"(?<=[A-Za-z])_(?=[A-Za-z])"), " "),
    (re.compile(r"\s*--+\s*|\s+-\s+"), " - "),
    (re.compile(r"(?<![\w.])\.(?=[A-Za-z])"), ""),
    (re.compile(r"“|”|''"), '"'),
)
"""Names of code become words: ``Session.add_all()`` is "add all"."""
_SENTENCE_END = re.compile(
    r"(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)(?<!vs\.)[\"')]*\s+(?=[\"'(]?[A-Z])"
)
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_CODE_CHARACTERS = re.compile(
    r"[=<>{}\[\]|\\^~@$*#_`+&]|::|//|->|\.\.|\w\.\w|\w/\w|\d%|%\w|\w\(|https?:"
)
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|a\.k\.a|U\.S|vs|etc)\.")
_CLAUSE_WORD = re.compile(
    "the|an?|is|are|be|of|to|in|that|this|it|and|for|with|on|as|by|or|not|can|if|will|may|from"
    "|which|was|has|have|when|only|there|these|those|such|its|no|any|all|you|we|they|at",
    re.IGNORECASE,
)


def prose_paragraphs(documentation: str) -> Iterator[list[str]]:
    """The paragraphs of a documentation string that read as English, as lists of sentences.

    Every sentence begins with a capital and ends with a full stop, a question or an exclamation
    mark; code, formulas, tables, examples, parameter lists and markup are gone.
    """
    for paragraph in _paragraphs(_without_tables(inspect.cleandoc(documentation).splitlines())):
        if len(paragraph.split()) < MINIMUM_PARAGRAPH_WORDS:
            continue
        sentences = [s for s in _sentences(paragraph) if is_english(s)]
        if sum(len(s.split()) for s in sentences) >= MINIMUM_PARAGRAPH_WORDS:
            yield sentences


def is_english(sentence: str) -> bool:
    """Whether ``sentence`` is one whole sentence of ordinary words."""
    plain = _ABBREVIATION.sub("namely", sentence)
    if not plain[:1].isupper() and plain[:1] not in "\"'(":
        return False
    if plain.rstrip("\"')")[-1:] not in (".", "?", "!") or _CODE_CHARACTERS.search(plain):
        return False
    words = plain.split()
    if not 4 <= len(words) <= 60 or plain.count('"') % 2 or plain.count("(") != plain.count(")"):
        return False
    cores = [word.strip("\"'(),.;:?!") for word in words]
    ordinary = [core for core in cores if _WORD.fullmatch(core) and not _is_code(core)]
    clause = sum(_CLAUSE_WORD.fullmatch(core) is not None for core in cores)
    return len(ordinary) >= 0.88 * len(cores) and clause >= 0.18 * len(cores)


def _is_code(word: str) -> bool:
    """Capitals inside (``ndarrayType``, ``HTTPServer``), or one letter other than a and I."""
    letters = word.replace("-", "").replace("'", "")
    if len(letters) == 1:
        return letters not in "aAI"
    return (
        letters != letters.lower()
        and not letters.istitle()
        and not (letters.isupper() and len(letters) <= 5)
    )


def _without_tables(lines: list[str]) -> Iterator[str]:
    """Drop directives with their blocks, headings, and the names in lists of described names."""
    skip_indent: int | None = None  # lines indented more than this are dropped
    table_indent: int | None = None  # lines of a table indented as this are its names
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            yield ""
            continue
        if skip_indent is not None:
            if indent > skip_indent:
                continue
            skip_indent = None
        if _UNDERLINE.match(following) and not _UNDERLINE.match(line):
            table_indent = indent if _TABLE_SECTION.fullmatch(line) else None
            yield ""
        elif _UNDERLINE.match(line) or _SECTION.match(line):
            yield ""
        elif directive := _DIRECTIVE.match(line):
            yield ""
            if _PROSE_DIRECTIVE.fullmatch(directive[1] or ""):
                yield directive[2]
            else:
                skip_indent = indent
        else:
            yield "" if indent == table_indent else line
            if line.rstrip().endswith("::"):
                skip_indent = indent


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    """Join lines to paragraphs, beginning anew at blank lines, list items and indented blocks."""
    current: list[str] = []
    indent = 0
    for line in [*lines, ""]:
        stripped = _FIELD.sub("", _ITEM.sub("", line)).strip()
        begins = stripped != line.strip()
        depth = len(line) - len(line.lstrip()) + begins
        if (not stripped or begins or depth < indent) and current:
            yield " ".join(" ".join(current).split())
            current = []
        if stripped:
            current.append("=" if _CODE_LINE.match(line) else stripped)
            indent = depth


def _sentences(paragraph: str) -> list[str]:
    for pattern, replacement in (*_QUOTED, *_INLINE) if "`" in paragraph else _INLINE:
        paragraph = pattern.sub(replacement, paragraph)
    return [sentence.strip() for sentence in _SENTENCE_END.split(paragraph)]
