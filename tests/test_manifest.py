from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from perigee.errors import ArtifactError
from perigee.manifest import (
    Input,
    Manifest,
    current_manifest,
    read_manifest,
    record_file,
    verify_files,
    write_manifest,
)


@pytest.fixture
def artifact(tmp_path: Path) -> tuple[Path, Manifest]:
    (tmp_path / "x.raw").write_bytes(b"one\ntwo\n")
    manifest = Manifest(
        artifact="x.raw",
        stage="unify",
        code_version="1",
        settings={"limit": 2},
        inputs=(Input("pg19.train.raw", "aaa", details={"rows": 2}),),
        files=(record_file(tmp_path / "x.raw", tmp_path),),
        counts={"documents": 2},
        dropped={"empty": 1},
    )
    path = tmp_path / "x.manifest.json"
    write_manifest(path, manifest)
    return path, manifest


def test_a_manifest_goes_round(artifact: tuple[Path, Manifest]) -> None:
    path, manifest = artifact
    assert read_manifest(path) == manifest
    verify_files(path, manifest)
    assert current_manifest(path, manifest.recipe) == manifest


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "pg19"},
        {"code_version": "2"},
        {"settings": {"limit": 3}},
        {"inputs": (Input("pg19.train.raw", "bbb"),)},
    ],
)
def test_what_decides_the_contents_changes_the_recipe_and_nothing_else(
    artifact: tuple[Path, Manifest], change: dict[str, object]
) -> None:
    _, manifest = artifact
    other = dataclasses.replace(manifest, **change)
    assert other.recipe != manifest.recipe
    assert other.version == manifest.version


def test_the_version_follows_the_contents_only(artifact: tuple[Path, Manifest]) -> None:
    path, manifest = artifact
    (path.parent / "x.raw").write_bytes(b"one\ntwO\n")
    files = (record_file(path.parent / "x.raw", path.parent),)
    other = dataclasses.replace(manifest, files=files)
    assert other.recipe == manifest.recipe
    assert other.version != manifest.version


def test_another_recipe_is_not_current(artifact: tuple[Path, Manifest]) -> None:
    path, _ = artifact
    assert current_manifest(path, "0" * 64) is None


@pytest.mark.parametrize("contents", [b"one\ntwO\n", b"one\n", None])
def test_a_changed_cut_or_missing_file_is_not_current(
    artifact: tuple[Path, Manifest], contents: bytes | None
) -> None:
    path, manifest = artifact
    raw = path.parent / "x.raw"
    raw.unlink() if contents is None else raw.write_bytes(contents)
    assert current_manifest(path, manifest.recipe) is None
    with pytest.raises(ArtifactError, match="run the step again"):
        verify_files(path, manifest)


def test_an_edited_manifest_is_refused(artifact: tuple[Path, Manifest]) -> None:
    path, _ = artifact
    document = json.loads(path.read_text())
    document["settings"]["limit"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="was edited"):
        read_manifest(path)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_is_none_is_refused(artifact: tuple[Path, Manifest], number: str) -> None:
    path, _ = artifact
    document = json.loads(path.read_text())
    document["settings"]["limit"] = "here"
    path.write_text(json.dumps(document).replace('"here"', number))
    with pytest.raises(ArtifactError, match=r"JSON"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "perigee.manifest/1"}'])
def test_other_json_is_not_a_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match="manifest"):
        read_manifest(path)
