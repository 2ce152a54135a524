"""The manifest beside every artifact: from what, how, and with which counts it was made.

Two hashes, for two questions. The **recipe** (stage, its code version, settings, versions of the
inputs) says whether the work has been done already. The **version** (the contents of the files)
says whether what hangs on the artifact has to be done again: a rerun that gives the same bytes
changes nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perigee.errors import ArtifactError
from perigee.files import fingerprint, read_json, sha256_file, write_json

FORMAT = "perigee.manifest/1"


@dataclass(frozen=True)
class Input:
    """Something an artifact was made from."""

    name: str
    """Name of the artifact or of the source's file, such as ``pg19.train.raw``."""
    version: str
    """Its version: the contents' hash, or for a remote archive its ETag and length."""
    manifest: str | None = None
    """Path of its manifest, where it has one; relative to this manifest's directory."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else identifies it (bytes, rows, ETag ...)."""


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact."""

    path: str
    """Relative to the manifest's directory."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The record of one artifact."""

    artifact: str
    stage: str
    code_version: str
    settings: Mapping[str, Any]
    inputs: Sequence[Input]
    files: Sequence[FileRecord]
    counts: Mapping[str, Any]
    """Documents, words, bytes, windows ... what the stage counts."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of documents left out, by reason."""

    @property
    def recipe(self) -> str:
        """Hash of everything that decides the contents."""
        return recipe(self.stage, self.code_version, self.settings, self.inputs)

    @property
    def version(self) -> str:
        """Hash of the contents: what Dagster calls the data version."""
        return fingerprint([[f.path, f.sha256] for f in self.files])


def recipe(
    stage: str, code_version: str, settings: Mapping[str, Any], inputs: Sequence[Input]
) -> str:
    """Hash of a stage, its code version, its settings and its inputs' names and versions."""
    return fingerprint([stage, code_version, dict(settings), [[i.name, i.version] for i in inputs]])


def record_file(path: Path, relative_to: Path) -> FileRecord:
    """Measure and hash ``path``; its name is kept relative to the manifest's directory."""
    name = path.relative_to(relative_to).as_posix()
    return FileRecord(name, path.stat().st_size, sha256_file(path))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest`` atomically. Written last, it commits the artifact."""
    document = {
        "format": FORMAT,
        **asdict(manifest),
        "recipe": manifest.recipe,
        "version": manifest.version,
    }
    write_json(path, document)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises
    ------
    ArtifactError
        If it is missing, is not a manifest, or its hashes do not fit its contents.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtifactError("is not a manifest of this project", place=path, expected=FORMAT)
    fields = {k: v for k, v in document.items() if k not in ("format", "recipe", "version")}
    try:
        fields["inputs"] = tuple(Input(**item) for item in fields["inputs"])
        fields["files"] = tuple(FileRecord(**item) for item in fields["files"])
        manifest = Manifest(**fields)
        intact = document["recipe"] == manifest.recipe and document["version"] == manifest.version
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"is not a whole manifest ({error})", place=path) from None
    if not intact:
        raise ArtifactError("was edited: its hashes do not fit its contents", place=path)
    return manifest


def verify_files(path: Path, manifest: Manifest) -> None:
    """Check that the files of the manifest at ``path`` are there and hold what it says.

    Raises
    ------
    ArtifactError
        Naming the first file that is missing or differs.
    """
    for file in manifest.files:
        place = path.parent / file.path
        if not place.is_file():
            raise ArtifactError("is missing", place=place, remedy="run the step again")
        if place.stat().st_size != file.bytes or sha256_file(place) != file.sha256:
            raise ArtifactError(
                "does not hold what its manifest says", place=place, remedy="run the step again"
            )


def current_manifest(path: Path, expected_recipe: str) -> Manifest | None:
    """The manifest at ``path`` if its artifact is whole and made by ``expected_recipe``."""
    try:
        manifest = read_manifest(path)
        if manifest.recipe != expected_recipe:
            return None
        verify_files(path, manifest)
    except ArtifactError:
        return None
    return manifest


@dataclass(frozen=True)
class Built:
    """What a stage returns: the record of its artifact, and whether it was already there."""

    path: Path
    """The manifest's file."""
    manifest: Manifest
    reused: bool
    """True if an artifact of the same recipe stood there whole, and no work was done."""
