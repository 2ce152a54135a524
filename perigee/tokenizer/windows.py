"""Windows of word ids: the file that training reads, memory-mapped, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perigee.corpus.writing import storage_errors
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
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.cutting import (
    Mixture,
    choose_starts,
    count_windows,
    window_starts,
    write_windows,
)
from perigee.tokenizer.packing import pack
from perigee.tokenizer.prime import BOS, PrimeTokenizer
from perigee.tokenizer.scratch import scratch_directory
from perigee.tokenizer.words import CODE_VERSION as WORDS_VERSION

STAGE = "windows"
CODE_VERSION = f"1+{WORDS_VERSION}"
_PATIENCE = 60.0
"""Seconds to wait for another process that writes the same file."""


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

    def documents(self) -> npt.NDArray[np.int64]:
        """(N, L) line, from 0, of the document that each word belongs to.

        Every document begins with a [BOS], which no text can spell. [PAD] counts with the document
        before it.
        """
        begins = (self.tokens == BOS).astype(np.int64)
        begins[:, 0] = 0  # the first word's document is known, whether it begins here or not
        documents: npt.NDArray[np.int64] = self.first_document[:, None] + begins.cumsum(axis=1)
        return documents

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
        If an input is missing or damaged, or the disk is full.
    Interrupted
        If the observer asks for a stop; nothing of it is left.
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
    with (
        storage_errors(output),
        exclusive_lock(lock, what="this file of windows", wait_seconds=_PATIENCE),
    ):
        return _build(
            RawReader(raw),
            PrimeTokenizer.load(vocab_path),
            output,
            {
                "sequence_length": sequence_length,
                "stride": stride,
                "max_sequences": max_sequences,
                "seed": seed,
                "mixture": mixture,
            },
            observer,
            fresh,
        )


def _build(
    reader: RawReader,
    tokenizer: PrimeTokenizer,
    output: Path,
    settings: dict[str, Any],
    observer: Observer,
    fresh: bool,
) -> Built:
    directory, path = output.parent, manifest_path(output)
    inputs = (reader.as_input(directory), Input("vocabulary", tokenizer.fingerprint))
    expected = recipe(STAGE, CODE_VERSION, settings, inputs)
    if not fresh and (manifest := current_manifest(path, expected)):
        observer.say(f"{output.name}: reused, documents and vocabulary have not changed")
        return Built(path, manifest, reused=True)
    remove_partials(directory)
    length = settings["sequence_length"]
    with scratch_directory(output) as scratch:
        stream = pack(reader, tokenizer.ids, scratch, output.name, observer)
        every = window_starts(len(stream.tokens), length, settings["stride"])
        chosen = choose_starts(
            stream, every, length, settings["max_sequences"], settings["seed"], settings["mixture"]
        )
        with atomic_file(output) as aside:
            written = write_windows(stream, chosen, length, aside, scratch)
        counts = count_windows(stream, every, chosen, length) | written
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
