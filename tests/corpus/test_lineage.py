from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_sources import MakeArchive, MakePg19

from perigee.corpus.documents import Limits
from perigee.corpus.lineage import Node, find_manifest, lineage, render, trace
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19
from perigee.corpus.unify import build_unified
from perigee.errors import ArtifactError, SettingsError
from perigee.files import fingerprint, sha256_file, write_json
from perigee.manifest import Input, Manifest, read_manifest, record_file, write_manifest


@pytest.fixture
def corpora(make_pg19: MakePg19, make_archive: MakeArchive, tmp_path: Path) -> Path:
    data = tmp_path / "project/data_sets"
    root = make_pg19(train=[["b0 x y"], ["b1"]], valid=[["vb"]], test=[["tb"]])
    build_pg19(root, data, Limits(0, 0, 0))
    archive = make_archive({"2005-12.jsonl.zst": ["p0 x", "p1", "vp", "tp"]})
    build_openwebtext2(str(archive), data, Limits(2, 1, 1))
    build_unified(data)
    return data


def record(path: Path, artifact: str, file: Path, inputs: list[Input]) -> Manifest:
    files = (record_file(file, path.parent),)
    manifest = Manifest(artifact, "stage", "1", {}, inputs, files, {"windows": 2})
    write_manifest(path, manifest)
    return manifest


@pytest.fixture
def windows(corpora: Path) -> Path:
    """Two windows over unified.train.raw, and a checkpoint that names them without a path."""
    artifacts = corpora.parent / "artifacts/perigee"
    vocabulary = artifacts / "perigee_vocab.json"
    write_json(vocabulary, ["[PAD]", "x"])
    raw_manifest = corpora / "unified.train.manifest.json"
    documents = Input(
        "unified.train.raw",
        read_manifest(raw_manifest).version,
        manifest="../../data_sets/unified.train.manifest.json",
    )
    record(artifacts / "perigee_vocab.manifest.json", "vocabulary", vocabulary, [documents])
    directory = artifacts / "windows"
    directory.mkdir()
    path = directory / "perigee.train.arrow"
    table = pa.table({"first_document": [0, 1], "last_document": [1, 3], "first_word": [0, 8]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    documents = Input(
        documents.name, documents.version, "../../../data_sets/unified.train.manifest.json"
    )
    inputs = [documents, Input("vocabulary", fingerprint(["[PAD]", "x"]))]
    made = record(directory / "perigee.train.manifest.json", "windows.perigee.train", path, inputs)
    checkpoint = artifacts / "checkpoints/perigee_epoch1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model").write_text("weights")
    inputs = [Input("windows.train", made.version), inputs[1]]
    record(checkpoint / "manifest.json", "checkpoint.epoch_1", checkpoint / "model", inputs)
    return path


def leaves(node: Node) -> list[Node]:
    if not node.inputs:
        return [node]
    return [leaf for item in node.inputs for leaf in leaves(item)]


def names(nodes: list[Node]) -> set[tuple[str, str, str]]:
    return {(node.name, node.version, node.state) for node in nodes}


def test_the_tree_ends_in_shards_with_their_hashes(corpora: Path, tmp_path: Path) -> None:
    tree = lineage(corpora / "unified.train.raw")
    assert (tree.name, tree.state, len(tree.inputs)) == ("unified.train.raw", "current", 6)
    shards = [*(tmp_path / "pg19").iterdir(), tmp_path / "archive.tar"]
    assert names(leaves(tree)) == {(s.name, sha256_file(s), "source") for s in shards}


def test_every_file_of_an_artifact_finds_its_manifest(corpora: Path, windows: Path) -> None:
    for name in ("unified.train.raw", "unified.train.index.parquet", "unified.train.manifest.json"):
        assert find_manifest(corpora / name) == corpora / "unified.train.manifest.json"
    assert find_manifest(windows).name == "perigee.train.manifest.json"
    vocabulary = windows.parent.parent / "perigee_vocab.json"
    assert find_manifest(vocabulary).name == "perigee_vocab.manifest.json"
    checkpoint = windows.parent.parent / "checkpoints/perigee_epoch1"
    assert find_manifest(checkpoint) == find_manifest(checkpoint / "model")


def test_inputs_that_were_recorded_without_a_path_are_found_by_version(windows: Path) -> None:
    tree = lineage(windows.parent.parent / "checkpoints/perigee_epoch1")
    found = [(node.name, node.state) for node in tree.inputs]
    assert found == [("windows.perigee.train", "current"), ("vocabulary", "current")]
    assert "archive.tar" in {node.name for node in leaves(tree)}


def test_the_copy_in_a_checkpoint_is_not_the_vocabulary_it_was_made_from(windows: Path) -> None:
    checkpoint = windows.parent.parent / "checkpoints/perigee_epoch1"
    copy = checkpoint / "perigee_vocab.json"
    write_json(copy, ["[PAD]", "x"])
    inputs = list(read_manifest(checkpoint / "manifest.json").inputs)
    record(checkpoint / "manifest.json", "checkpoint.epoch_1", copy, inputs)
    tree = lineage(checkpoint)
    assert [node.name for node in tree.inputs] == ["windows.perigee.train", "vocabulary"]


def test_rendering(windows: Path) -> None:
    text = render(lineage(windows.parent.parent / "checkpoints/perigee_epoch1"))
    lines = text.split("\n")
    assert lines[0].startswith("checkpoint.epoch_1  ")
    assert lines[1].startswith("├── windows.perigee.train  ")
    assert lines[2].startswith("│   ├── unified.train.raw  ")
    assert "4 documents" in lines[2]
    assert sum("train-00000-of-00002.parquet" in line for line in lines) == 1
    assert "(its inputs: above)" in text


def test_what_has_changed_or_gone_is_marked(corpora: Path, make_pg19: MakePg19) -> None:
    root = make_pg19("other", train=[["b9"]], valid=[["vb"]], test=[["tb"]])
    build_pg19(root, corpora, Limits(0, 0, 0))
    (corpora / "openwebtext2.train.manifest.json").unlink()
    states = {node.name: node.state for node in lineage(corpora / "unified.train.raw").inputs}
    assert states["pg19.train.raw"] == "changed"
    assert states["openwebtext2.train.raw"] == "missing"
    assert states["openwebtext2.valid.raw"] == "current"
    assert "[changed]" in render(lineage(corpora / "unified.train.raw"))


def test_what_has_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such artifact"):
        lineage(tmp_path / "nothing.raw")
    (tmp_path / "stray.raw").write_text("x\n")
    with pytest.raises(ArtifactError, match="no manifest belongs to it"):
        lineage(tmp_path / "stray.raw")


def test_a_circle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    path = tmp_path / "a.manifest.json"
    record(path, "a", tmp_path / "a", [Input("a", "0", "a.manifest.json")])
    with pytest.raises(ArtifactError, match="made from itself"):
        lineage(path)


def test_trace_names_the_documents_of_a_window(windows: Path, corpora: Path) -> None:
    traced = trace(windows, 1)
    index = pq.read_table(corpora / "unified.train.index.parquet").to_pylist()
    assert (traced.window, traced.first_word) == (1, 8)
    assert [document.line for document in traced.documents] == [1, 2, 3]
    for document in traced.documents:
        row = index[document.line]
        assert document.sha256 == row["sha256"]
        assert (document.title, document.url) == (row["title"], row["url"])
        assert (document.shard, document.row) == (row["shard"], row["row"])
    assert traced.documents[0].shard == "2005-12.jsonl.zst"
    assert traced.documents[1].title == "Book 1"


@pytest.mark.parametrize("number", [-1, 2])
def test_trace_of_no_window(windows: Path, number: int) -> None:
    with pytest.raises(SettingsError, match=f"no window {number}; expected 0 to 1"):
        trace(windows, number)


def test_trace_refuses_documents_that_changed(windows: Path, corpora: Path) -> None:
    path = corpora / "unified.train.manifest.json"
    (corpora / "unified.train.raw").write_text("other\n")
    record(path, "unified.train.raw", corpora / "unified.train.raw", [])
    with pytest.raises(ArtifactError, match="has changed since"):
        trace(windows, 0)


def test_trace_of_what_is_not_windows(windows: Path, corpora: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file of windows"):
        trace(windows.with_name("nothing.arrow"), 0)
    with pytest.raises(ArtifactError, match="cannot be read as windows"):
        trace(corpora / "unified.train.raw", 0)
