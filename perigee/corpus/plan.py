"""What decides a split of a corpus: whether it is there already, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perigee.corpus.documents import raw_paths
from perigee.corpus.writing import SplitWriter, storage_errors
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import Observer


@dataclass(frozen=True)
class Plan:
    """Everything that decides one split of a corpus, and where it goes."""

    raw: Path
    artifact: str
    stage: str
    code_version: str
    settings: Mapping[str, Any]
    inputs: Sequence[Input]

    def current(self) -> Built | None:
        """The artifact, if it stands there whole and was made just so."""
        path = raw_paths(self.raw).manifest
        wanted = recipe(self.stage, self.code_version, self.settings, self.inputs)
        manifest = current_manifest(path, wanted)
        if manifest is None:
            return None
        return Built(path, manifest, reused=True)

    def commit(self, writer: SplitWriter, counts: Mapping[str, Any]) -> Built:
        """Write the manifest of finished files: the last step, which makes them an artifact."""
        paths = raw_paths(self.raw)
        manifest = Manifest(
            artifact=self.artifact,
            stage=self.stage,
            code_version=self.code_version,
            settings=dict(self.settings),
            inputs=tuple(self.inputs),
            files=(writer.raw_record(), record_file(paths.index, paths.index.parent)),
            counts={
                "documents": writer.documents,
                "words": writer.words,
                "bytes": writer.size,
                **counts,
            },
            dropped=dict(sorted(writer.dropped.items())),
        )
        with storage_errors(paths.manifest):
            write_manifest(paths.manifest, manifest)
        return Built(paths.manifest, manifest, reused=False)


def reuse(plans: Mapping[str, Plan], observer: Observer) -> dict[str, Built]:
    """Those of ``plans`` that are there already; says so if it is all of them."""
    found = {split: built for split, plan in plans.items() if (built := plan.current())}
    if len(found) == len(plans):
        for plan in plans.values():
            observer.say(f"{plan.artifact}: reused, nothing that it is made from has changed")
    return found


def report_shortfall(
    observer: Observer, artifact: str, documents: int, requested: int, why: str
) -> bool:
    """Warn if fewer ``documents`` than ``requested`` (0: all) came out; return whether."""
    short = documents < requested
    if short:
        observer.say(
            f"{artifact}: {documents} documents of the {requested} asked for: {why}", "warning"
        )
    return short
