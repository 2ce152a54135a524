"""Windows of word ids: the file that training reads, memory-mapped, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perigee.errors import ArtifactError, SettingsError
from perigee.files import atomic_file, exclusive_lock, remove_partials
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    read_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import SILENT, Observer
from perigee.randomness import generator
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.packing import Stream, pack
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.tokenizer.scratch import scratch_directory
from perigee.tokenizer.vocabulary_file import BOS, EOS, PAD, UNK
from perigee.tokenizer.words import CODE_VERSION as WORDS_VERSION

STAGE = "windows"
CODE_VERSION = f"1+{WORDS_VERSION}"
_BLOCK_WORDS = 1 << 22

Mixture = Literal["documents", "windows"]
"""Windows as the documents give them, or equally many from each source."""


def manifest_path(output: Path) -> Path:
    """Where the manifest of a windows file stands."""
    return output.with_suffix(".manifest.json")


@dataclass(frozen=True)
class Windows:
    """An open file of windows. The arrays are read-only views of the mapped file."""

    path: Path
    tokens: npt.NDArray[np.uint16]
    """(N, L) ids."""
    first_document: npt.NDArray[np.int64]
    """(N,) line, from 0, of the document in which each window begins."""
    last_document: npt.NDArray[np.int64]
    """(N,) line of the document in which its last word stands."""
    first_word: npt.NDArray[np.int64]
    """(N,) place of its first word in the stream of packed documents."""

    @classmethod
    def open(cls, path: Path) -> Windows:
        """Map a windows file.

        Raises
        ------
        ArtifactError
            If it is missing or is not a file of windows.
        """
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except FileNotFoundError:
            raise ArtifactError(
                "no such file of windows", place=path, remedy="build the windows first"
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(f"cannot be read as Arrow ({error})", place=path) from None
        names = ["tokens", "first_document", "last_document", "first_word"]
        kinds = [table.schema.field(name).type for name in names if name in table.schema.names]
        is_windows = (
            len(kinds) == len(names)
            and pa.types.is_fixed_size_list(kinds[0])
            and kinds[0].value_type == pa.uint16()
            and all(kind == pa.int64() for kind in kinds[1:])
            and table.column(0).num_chunks == 1
        )
        if not is_windows:
            raise ArtifactError("does not hold windows", place=path, remedy="build them again")
        tokens, *others = (table.column(name).chunk(0) for name in names)
        flat = tokens.flatten().to_numpy(zero_copy_only=True)
        return cls(
            path,
            flat.reshape(len(tokens), kinds[0].list_size),
            *(column.to_numpy(zero_copy_only=True) for column in others),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sequence_length(self) -> int:
        """Words in a window, L."""
        return int(self.tokens.shape[1])

    @property
    def manifest(self) -> Manifest:
        """The record of how the file was made.

        Raises
        ------
        ArtifactError
            If it is missing or damaged.
        """
        return read_manifest(manifest_path(self.path))


def build_windows(
    raw: Path,
    vocab_path: Path,
    output: Path,
    *,
    sequence_length: int,
    stride: int,
    max_sequences: int,
    seed: int,
    mixture: Mixture = "documents",
    observer: Observer = SILENT,
    fresh: bool = False,
) -> Built:
    """Write the windows of ``raw`` as a memory-mapped Arrow file.

    Documents are packed as ``[BOS] words [EOS]`` and cut every ``stride`` words into windows of
    ``sequence_length``; the last one is filled with [PAD]. If there are more than
    ``max_sequences`` (0: no limit), as many are chosen with ``seed``; their order stays that of
    the text.

    Parameters
    ----------
    raw, vocab_path:
        Documents, one a line, and the vocabulary that numbers their words.
    output:
        The Arrow file; its manifest goes beside it.
    mixture:
        ``windows`` chooses equally many windows from each source; a window belongs to the source
        of its middle word.
    fresh:
        Build it even if the same recipe made what stands there.

    Raises
    ------
    SettingsError
        If a length is not positive.
    ArtifactError
        If an input is missing or damaged.
    BusyError
        If another process is building the same windows.
    """
    if min(sequence_length, stride) < 1 or max_sequences < 0:
        raise SettingsError(
            f"sequence_length {sequence_length}, stride {stride}, max_sequences {max_sequences}",
            place="[training]",
            expected="lengths of at least 1 and a limit of at least 0",
        )
    directory = output.parent
    lock = directory / f".{output.name}.lock"
    with exclusive_lock(lock, what="this file of windows", wait_seconds=60):
        reader = RawReader(raw)
        tokenizer = PrimeTokenizer.load(vocab_path)
        settings = {
            "sequence_length": sequence_length,
            "stride": stride,
            "max_sequences": max_sequences,
            "seed": seed,
            "mixture": mixture,
        }
        inputs = (reader.as_input(directory), Input("vocabulary", tokenizer.fingerprint))
        path = manifest_path(output)
        expected = recipe(STAGE, CODE_VERSION, settings, inputs)
        if not fresh and (manifest := current_manifest(path, expected)):
            observer.say(f"{output.name}: reused, documents and vocabulary have not changed")
            return Built(path, manifest, reused=True)
        remove_partials(directory)
        with scratch_directory(output) as scratch:
            stream = pack(reader, tokenizer.ids, scratch, output.name, observer)
            every = _starts(len(stream.tokens), sequence_length, stride)
            chosen = _choose(stream, every, sequence_length, max_sequences, seed, mixture)
            with atomic_file(output) as aside:
                written = _write(stream, chosen, sequence_length, aside, scratch)
            counts = _counts(stream, every, chosen, sequence_length) | written
        manifest = Manifest(
            artifact=f"windows.{output.stem}",
            stage=STAGE,
            code_version=CODE_VERSION,
            settings=settings,
            inputs=inputs,
            files=(record_file(output, directory),),
            counts=counts,
        )
        write_manifest(path, manifest)
    return Built(path, manifest, reused=False)


def _starts(total: int, length: int, stride: int) -> npt.NDArray[np.int64]:
    """Where windows begin: every ``stride`` words, until one reaches the end of the stream."""
    count = min(-(-max(total - length, 0) // stride) + 1, -(-total // stride))
    return np.arange(count, dtype=np.int64) * stride


def _choose(
    stream: Stream,
    starts: npt.NDArray[np.int64],
    length: int,
    limit: int,
    seed: int,
    mixture: Mixture,
) -> npt.NDArray[np.int64]:
    """The beginnings of the windows to keep, in order."""
    if mixture == "documents":
        groups = [starts]
    else:
        source = _source_of_windows(stream, starts, length)
        groups = [starts[source == number] for number in range(len(stream.sources))]
        groups = [group for group in groups if len(group)]
    share = min(len(group) for group in groups) if mixture == "windows" else len(starts)
    if limit:
        share = min(share, max(limit // len(groups), 1))
    kept = [
        group
        if len(group) <= share
        else generator(seed, "windows", number).choice(group, share, replace=False, shuffle=False)
        for number, group in enumerate(groups)
    ]
    return np.sort(np.concatenate(kept))


def _source_of_windows(
    stream: Stream, starts: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.uint8]:
    middle = np.minimum(starts + length // 2, len(stream.tokens) - 1)
    return stream.source_of[np.searchsorted(stream.starts, middle, side="right") - 1]


def _write(
    stream: Stream, starts: npt.NDArray[np.int64], length: int, path: Path, scratch: Path
) -> dict[str, int]:
    """Write the file: the ids go to a scratch file first, so that one record batch can map them."""
    words = unknown = padding = 0
    offsets = np.arange(length, dtype=np.int64)
    rows = max(_BLOCK_WORDS // length, 1)
    with (scratch / "windows").open("wb") as file:
        for begin in range(0, len(starts), rows):
            places = starts[begin : begin + rows, None] + offsets
            block = stream.tokens[np.minimum(places, len(stream.tokens) - 1)]
            block[places >= len(stream.tokens)] = PAD
            block.tofile(file)
            padding += int((block == PAD).sum())
            unknown += int((block == UNK).sum())
            words += int(((block != PAD) & (block != BOS) & (block != EOS)).sum())
    last = np.minimum(starts + length, len(stream.tokens)) - 1
    with pa.memory_map(str(scratch / "windows")) as mapped:
        ids = pa.Array.from_buffers(pa.uint16(), len(starts) * length, [None, mapped.read_buffer()])
        batch = pa.record_batch(
            {
                "tokens": pa.FixedSizeListArray.from_arrays(ids, length),
                "first_document": np.searchsorted(stream.starts, starts, side="right") - 1,
                "last_document": np.searchsorted(stream.starts, last, side="right") - 1,
                "first_word": starts,
            }
        )
        with pa.ipc.new_file(str(path), batch.schema) as writer:
            writer.write_batch(batch)
    return {"words": words, "unknown_words": unknown, "padding": padding}


def _counts(
    stream: Stream,
    every: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    length: int,
) -> dict[str, Any]:
    """What the manifest tells of the text and of the windows, in all and by source."""
    number = len(stream.sources)
    all_by = np.bincount(_source_of_windows(stream, every, length), minlength=number)
    chosen_by = np.bincount(_source_of_windows(stream, chosen, length), minlength=number)
    documents_by = np.bincount(stream.source_of, minlength=number)
    total = int(stream.words.sum())
    return {
        "windows": len(chosen),
        "windows_in_all": len(every),
        "documents": len(stream.starts),
        "stream_words": total,
        "stream_unknown_words": int(stream.unknown.sum()),
        "unknown_share": int(stream.unknown.sum()) / max(total, 1),
        "sources": {
            name: {
                "documents": int(documents_by[place]),
                "words": int(stream.words[place]),
                "word_share": int(stream.words[place]) / max(total, 1),
                "unknown_share": int(stream.unknown[place]) / max(int(stream.words[place]), 1),
                "windows_in_all": int(all_by[place]),
                "windows": int(chosen_by[place]),
                "window_share": int(chosen_by[place]) / max(len(chosen), 1),
            }
            for place, name in enumerate(stream.sources)
        },
    }
