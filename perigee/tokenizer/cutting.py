"""The stream of packed documents cut into windows: where they begin, which are kept, the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perigee.randomness import generator
from perigee.tokenizer.packing import Stream
from perigee.tokenizer.vocabulary_file import BOS, EOS, PAD, UNK

_BLOCK_WORDS = 1 << 22

Mixture = Literal["documents", "windows"]
"""Windows as the documents give them, or equally many from each source."""


def window_starts(total: int, length: int, stride: int) -> npt.NDArray[np.int64]:
    """Where windows begin: every ``stride`` words, until one reaches the end of the stream."""
    count = min(-(-max(total - length, 0) // stride) + 1, -(-total // stride))
    return np.arange(count, dtype=np.int64) * stride


def choose_starts(
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


def write_windows(
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
            file.write(block.data)
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


def count_windows(
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
