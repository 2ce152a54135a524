"""Prose from the sources of Python and of the pinned packages, read without importing any."""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.metadata
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perigee.corpus.prose import MINIMUM_PARAGRAPH_WORDS, prose_paragraphs
from perigee.errors import Interrupted
from perigee.observer import SILENT, Observer

CODE_VERSION = "2"

PYTHON = "Python"
PACKAGES = {
    "SQLAlchemy": "sqlalchemy",
    "networkx": "networkx",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "dagster": "dagster",
    "pydantic": "pydantic",
    "alembic": "alembic",
    "Jinja2": "jinja2",
    "click": "click",
    "rich": "rich",
    "pillow": "PIL",
    "websockets": "websockets",
    "graphql-core": "graphql",
    "pyarrow": "pyarrow",
    "huggingface_hub": "huggingface_hub",
    "fsspec": "fsspec",
    "structlog": "structlog",
    "requests": "requests",
    "urllib3": "urllib3",
    "torch": "torch",
    "sympy": "sympy",
    "mpmath": "mpmath",
    "fonttools": "fontTools",
    "tensorboard": "tensorboard",
}
"""Distributions, all required by this project or by what it requires, and the package of each;
the most readable first, since reading ends when there are words enough."""

_NOT_DOCUMENTATION = re.compile(
    "site-packages|dist-packages|tests?|testing|idlelib|lib2to3|turtledemo|ensurepip|_?vendor"
    "|_internal|third_party"
)
"""Directories that are not read."""
_TRIPLE_QUOTED = re.compile(r'"""(.*?)"""', re.DOTALL)
_MINIMUM_QUOTED = 800
_MINIMUM_SHARE = 0.1
"""Characters of long triple-quoted strings, and their share of a file, below which it is not
parsed: files under that share would take a fifth of the time for a fourteenth of the words."""
_MINIMUM_STRING = 150
_LAST_WORDS = 200
"""Reading ends when fewer words than these are wanting: a paragraph must fit whole."""
_LETTERS = re.compile(r"[^a-z]+")


@dataclass(frozen=True)
class Module:
    """The prose of one source file."""

    package: str
    name: str
    """Dotted name."""
    url: str
    """Where its package is published."""
    paragraphs: tuple[str, ...]

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return sum(len(paragraph.split()) for paragraph in self.paragraphs)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that are here, in the order of reading."""
    versions = {PYTHON: platform.python_version()}
    for distribution in PACKAGES:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def installed_modules(words: int, observer: Observer = SILENT) -> Iterator[Module]:
    """Modules with their prose, in a fixed order, until ``words`` words are out.

    No sentence is given twice, whatever its capitals, digits and punctuation.
    """
    seen: set[bytes] = set()
    done = 0
    for package, name, url, path in _source_files():
        if words - done < _LAST_WORDS:
            return
        paragraphs = tuple(_fresh_paragraphs(path, seen, words - done))
        if paragraphs:
            module = Module(package, name, url, paragraphs)
            done += module.words
            if observer.should_stop():
                raise Interrupted("stopped as asked", place="embedded prose", remedy="run it again")
            observer.progress("embedded prose", min(done, words), words, "words")
            yield module


def _source_files() -> Iterator[tuple[str, str, str, Path]]:
    """Package, dotted name, address and path of every source file that may hold documentation."""
    versions = installed_versions()
    standard = Path(sysconfig.get_path("stdlib"))
    url = f"https://docs.python.org/{'.'.join(platform.python_version_tuple()[:2])}/"
    topics = standard / "pydoc_data" / "topics.py"
    if topics.is_file():
        yield "topics", "pydoc_data.topics", url, topics
    for path in _python_files(standard):
        if path != topics:
            yield PYTHON, _dotted(path, standard), url, path
    for distribution, version in versions.items():
        if distribution == PYTHON:
            continue
        root = Path(str(importlib.metadata.distribution(distribution).locate_file("")))
        url = f"https://pypi.org/project/{distribution}/{version}/"
        for path in _python_files(root / PACKAGES[distribution]):
            yield distribution, _dotted(path, root), url, path


def _python_files(root: Path) -> Iterator[Path]:
    """The ``.py`` files below ``root``, a directory's own before those of the ones in it."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not _NOT_DOCUMENTATION.fullmatch(name))
        yield from (Path(directory, file) for file in sorted(files) if file.endswith(".py"))


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _fresh_paragraphs(path: Path, seen: set[bytes], words: int) -> Iterator[str]:
    for text in _long_strings(path):
        for sentences in prose_paragraphs(text):
            fresh = [s for s in sentences if not _was_seen(s, seen)]
            count = sum(len(s.split()) for s in fresh)
            if MINIMUM_PARAGRAPH_WORDS <= count <= words:
                words -= count
                yield " ".join(fresh)


def _was_seen(sentence: str, seen: set[bytes]) -> bool:
    key = hashlib.blake2b(_LETTERS.sub("", sentence.lower()).encode(), digest_size=8).digest()
    if key in seen:
        return True
    seen.add(key)
    return False


def _long_strings(path: Path) -> Iterator[str]:
    """String literals of a source file that are long enough for a paragraph, in source order."""
    try:
        source = path.read_text(encoding="utf-8")
        quoted = (text for text in _TRIPLE_QUOTED.findall(source) if len(text) >= _MINIMUM_STRING)
        worth = max(_MINIMUM_QUOTED, int(_MINIMUM_SHARE * len(source)))
        if path.name != "topics.py" and sum(map(len, quoted)) < worth:
            return
        with warnings.catch_warnings():
            # Old packages write "\d" where r"\d" is meant: their matter, not this project's.
            warnings.simplefilter("ignore")
            tree = _parse(source)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return
    for node in _strings(tree.body):
        if len(node) >= _MINIMUM_STRING and "\n" in node:
            yield node


def _parse(source: str) -> ast.Module:
    """Parse without the collector of cycles, which would take as long looking for some."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_enabled:
            gc.enable()


def _strings(statements: list[ast.stmt]) -> Iterator[str]:
    """Strings that stand as statements, are assigned, or are passed to a function as one.

    ``torch`` and ``numpy`` document their compiled functions by the last of these. Other
    expressions are not descended into: that would take as long as the parsing.
    """
    for statement in statements:
        match statement:
            case ast.Expr(value=ast.Call(args=arguments)):
                values = list(arguments)
            case ast.Assign(value=ast.Dict(values=values)):
                pass
            case ast.Expr(value=value) | ast.Assign(value=value):
                values = [value]
            case ast.ClassDef(body=body) | ast.FunctionDef(body=body):
                yield from _strings(body)
                continue
            case ast.AsyncFunctionDef(body=body) | ast.If(body=body) | ast.Try(body=body):
                yield from _strings(body)
                continue
            case _:
                continue
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value
