"""From any artifact back to the shards: its tree, and the documents in one training window."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from perigee.corpus.documents import raw_paths
from perigee.errors import ArtifactError, SettingsError
from perigee.files import fingerprint, read_json
from perigee.manifest import Input, Manifest, read_manifest

State = Literal["current", "changed", "missing", "source"]
_MANIFESTS = "*manifest.json"
_SHORT = 12


@dataclass(frozen=True)
class Node:
    """An artifact or a source, and what it was made from."""

    name: str
    version: str
    """What its reader recorded of it; of the first node, what it is."""
    state: State
    """``source``: not made by this project. ``current``: its manifest stands and has this version;
    ``changed``: it has another one now; ``missing``: no manifest was found."""
    manifest: Path | None = None
    stage: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Node, ...] = ()


@dataclass(frozen=True)
class TracedDocument:
    """A document of a window, and where it stands in its source."""

    line: int
    """Line in the .raw file, from 0."""
    source: str
    shard: str
    row: int
    """Row in the shard, or line in the archive's member, from 0."""
    title: str
    url: str
    date: str
    words: int
    sha256: str


@dataclass(frozen=True)
class TracedWindow:
    """The documents that a training window touches, in order."""

    window: int
    first_word: int
    """Place of the window's first word in the packed stream."""
    documents: tuple[TracedDocument, ...]


def lineage(artifact: Path) -> Node:
    """The tree from an artifact (any of its files, its directory or its manifest) to its sources.

    Raises
    ------
    ArtifactError
        If no manifest belongs to ``artifact``, or one in the tree is damaged.
    """
    return _Tree().node_of(find_manifest(Path(artifact)))


def find_manifest(artifact: Path) -> Path:
    """The manifest that an artifact's file or directory belongs to.

    Raises
    ------
    ArtifactError
        If there is none.
    """
    if artifact.is_dir():
        candidates = [artifact / "manifest.json"]
    elif artifact.name.endswith("manifest.json"):
        candidates = [artifact]
    else:
        candidates = [raw_paths(artifact).manifest, artifact.with_suffix(".manifest.json")]
    for candidate in candidates:
        if candidate.is_file() and (candidate == artifact or _covers(candidate, artifact)):
            return candidate
    for candidate in sorted(artifact.parent.glob(_MANIFESTS)):
        if _covers(candidate, artifact):
            return candidate
    problem = "no manifest belongs to it" if artifact.exists() else "no such artifact"
    raise ArtifactError(
        problem, place=artifact, expected="a file that a step of this project wrote"
    )


def _covers(manifest: Path, artifact: Path) -> bool:
    """Whether ``artifact`` is a file, or the directory, of the manifest's artifact."""
    try:
        files = read_manifest(manifest).files
    except ArtifactError:
        return False
    return artifact.is_dir() or any(manifest.parent / file.path == artifact for file in files)


class _Tree:
    """Builds nodes, each manifest's once: the epochs of a training share their data."""

    def __init__(self) -> None:
        self._known: dict[Path, Node] = {}
        self._open: set[Path] = set()

    def node_of(self, path: Path, wanted: str | None = None) -> Node:
        place = path.resolve()
        if place in self._open:
            raise ArtifactError("is made from itself", place=path)
        manifest = read_manifest(path)
        version = manifest.version if wanted is None else wanted
        known = self._known.get(place)
        if known is None or known.version != version:
            self._open.add(place)
            known = Node(
                name=manifest.artifact,
                version=version,
                state="current" if _matches(path, manifest, version) else "changed",
                manifest=path,
                stage=manifest.stage,
                counts=manifest.counts,
                inputs=tuple(self._input(path, item) for item in manifest.inputs),
            )
            self._open.discard(place)
            self._known[place] = known
        return known

    def _input(self, reader: Path, item: Input) -> Node:
        found = _beside(reader, item.manifest) if item.manifest else _search(reader, item)
        if found is not None and found.is_file():
            return self.node_of(found, item.version)
        made_here = item.manifest is not None
        state: State = "missing" if made_here else "source"
        return Node(item.name, item.version, state, details=item.details)


def _beside(reader: Path, relative: str) -> Path:
    """A path that a manifest holds, without the steps up and down again."""
    return Path(os.path.normpath(reader.parent / relative))


def _search(reader: Path, item: Input) -> Path | None:
    """The manifest of an input that was recorded without its path: the one with its version."""
    for candidate in _neighbours(reader):
        try:
            manifest = read_manifest(candidate)
        except ArtifactError:
            continue
        if _matches(candidate, manifest, item.version):
            return candidate
    return None


def _neighbours(reader: Path) -> Iterator[Path]:
    """Manifests near ``reader``: artifacts of one training stand within two directories."""
    place = reader.resolve()
    for above in (place.parent, place.parent.parent, place.parent.parent.parent):
        if above == Path(above.anchor):
            return
        for pattern in (_MANIFESTS, f"*/{_MANIFESTS}"):
            yield from sorted(path for path in above.glob(pattern) if path != place)


def _matches(path: Path, manifest: Manifest, version: str) -> bool:
    """Whether ``version`` is the artifact's: its manifest's, or of the list in its JSON file."""
    if manifest.version == version:
        return True
    if manifest.artifact != "vocabulary":  # checkpoints hold a copy of theirs
        return False
    lists = [
        path.parent / file.path for file in manifest.files if file.path.endswith("_vocab.json")
    ]
    return any(file.is_file() and fingerprint(read_json(file)) == version for file in lists)


def render(node: Node) -> str:
    """The tree as text, a line a node; what was shown before is not shown again below."""
    shown: set[tuple[str, str]] = set()
    lines: list[str] = []
    _render(node, "", "", shown, lines)
    return "\n".join(lines)


def _render(
    node: Node, lead: str, below: str, shown: set[tuple[str, str]], lines: list[str]
) -> None:
    again = (node.name, node.version) in shown and bool(node.inputs)
    shown.add((node.name, node.version))
    lines.append(lead + _label(node) + (" (its inputs: above)" if again else ""))
    for number, item in enumerate(() if again else node.inputs):
        last = number == len(node.inputs) - 1
        branch, stem = ("└── ", "    ") if last else ("├── ", "│   ")
        _render(item, below + branch, below + stem, shown, lines)


def _label(node: Node) -> str:
    parts = [node.name, _short(node.version)]
    facts = {**node.details, **node.counts}
    for key in ("documents", "words", "windows", "rows", "bytes"):
        if isinstance(facts.get(key), int):
            parts.append(f"{facts[key]:,} {key}")
    if node.state in ("changed", "missing"):
        parts.append(f"[{node.state}]")
    if node.manifest is not None:
        parts.append(str(node.manifest))
    return "  ".join(parts)


def _short(version: str) -> str:
    is_hash = len(version) == 64 and all(c in "0123456789abcdef" for c in version)
    return version[:_SHORT] if is_hash else version


def trace(windows: Path, number: int) -> TracedWindow:
    """The documents in window ``number`` (from 0) of a file of windows.

    Raises
    ------
    ArtifactError
        If the windows, their documents or the index are missing or have changed.
    SettingsError
        If there is no such window.
    """
    windows = Path(windows)
    first, last, first_word = _bounds(windows, number)
    path = find_manifest(windows)
    manifest = read_manifest(path)
    item = next((i for i in manifest.inputs if i.manifest and i.name.endswith(".raw")), None)
    if item is None or item.manifest is None:
        raise ArtifactError("its manifest names no documents with an index", place=windows)
    documents = _beside(path, item.manifest)
    record = read_manifest(documents)
    if record.version != item.version:
        raise ArtifactError(
            f"has changed since {windows} was made from it",
            place=documents,
            remedy="build the windows again",
        )
    name = next((f.path for f in record.files if f.path.endswith(".index.parquet")), None)
    if name is None:
        raise ArtifactError("has no index", place=documents, remedy="build the documents again")
    found = _index_rows(documents.parent / name, first, last)
    return TracedWindow(number, first_word, tuple(found))


def _bounds(windows: Path, number: int) -> tuple[int, int, int]:
    try:
        with pa.memory_map(str(windows)) as file:
            table = pa.ipc.open_file(file).read_all()
            columns = [table.column(c) for c in ("first_document", "last_document", "first_word")]
            if not 0 <= number < table.num_rows:
                raise SettingsError(
                    f"there is no window {number}",
                    place=windows,
                    expected=f"0 to {table.num_rows - 1}",
                )
            first, last, first_word = (column[number].as_py() for column in columns)
    except FileNotFoundError:
        raise ArtifactError("no such file of windows", place=windows) from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ArtifactError(f"cannot be read as windows ({error})", place=windows) from None
    return first, last, first_word


def _index_rows(index: Path, first: int, last: int) -> Iterator[TracedDocument]:
    try:
        is_inside = (pc.field("line") >= first) & (pc.field("line") <= last)
        rows = pq.read_table(index, filters=is_inside).sort_by("line").to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"cannot be read ({error})", place=index) from None
    if [row["line"] for row in rows] != list(range(first, last + 1)):
        raise ArtifactError(f"does not hold the lines {first} to {last}", place=index)
    for row in rows:
        yield TracedDocument(**{k: v for k, v in row.items() if k != "bytes"})
