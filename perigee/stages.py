"""Each stage of the lineage from the settings alone: what the command line and Dagster both call.

A stage reads what the stage before wrote, and does nothing if its artifact stands there whole, made
by the same recipe. Torch is imported by the stages that need it, when they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perigee.corpus.documents import SPLITS, Limits
from perigee.manifest import Built
from perigee.observer import SILENT, Observer
from perigee.settings import Settings


@dataclass(frozen=True)
class Sources:
    """Where the text comes from."""

    pg19_root: Path
    """Directory of the PG-19 shards."""
    openwebtext2: str
    """URL or path of the OpenWebText2 archive."""
    embedded: tuple[str, ...]
    """Which of the two are the embedded sample, because no other was named."""
    pg19_limits: Limits
    """Books to take: as the settings say, but no more than an embedded sample holds."""
    openwebtext2_limits: Limits
    """Pages to take; likewise."""


def sources(settings: Settings, observer: Observer = SILENT, *, fresh: bool = False) -> Sources:
    """The sources of the settings; one that is not named is written from the embedded sample."""
    data = settings.data
    named = {"pg19": data.pg19_root, "openwebtext2": data.openwebtext2}
    missing = tuple(name for name, place in named.items() if not place)
    asked = Limits(data.train_limit, data.valid_limit, data.test_limit)
    if not missing:
        return Sources(Path(data.pg19_root), data.openwebtext2, (), asked, asked)
    from perigee.corpus.embedded import build_embedded

    if len(missing) == 1:
        observer.say(f"no source named for {missing[0]}: its embedded sample is used", "warning")
    embedded = build_embedded(
        embedded_directory(settings),
        asked,
        words=data.embedded_words,
        observer=observer,
        fresh=fresh,
    )
    return Sources(
        pg19_root=Path(data.pg19_root) if data.pg19_root else embedded.pg19_root,
        openwebtext2=data.openwebtext2 or str(embedded.archive),
        embedded=missing,
        pg19_limits=asked if data.pg19_root else embedded.limits,
        openwebtext2_limits=asked if data.openwebtext2 else embedded.limits,
    )


def limits(settings: Settings, corpus: str) -> Limits:
    """Documents to take from the source of ``corpus`` (pg19, openwebtext2), by split."""
    source = sources(settings)
    return source.pg19_limits if corpus == "pg19" else source.openwebtext2_limits


def embedded_directory(settings: Settings) -> Path:
    """Where the embedded sample's shards and archive are written."""
    return Path(settings.data.directory) / "embedded"


def build_pg19(
    settings: Settings, observer: Observer = SILENT, *, fresh: bool = False
) -> dict[str, Built]:
    """PG-19 shards to ``pg19.{train,valid,test}.raw``."""
    from perigee.corpus import pg19

    source = sources(settings, observer)
    return pg19.build_pg19(
        source.pg19_root,
        Path(settings.data.directory),
        source.pg19_limits,
        sampling=settings.data.sampling,
        seed=settings.training.seed,
        observer=observer,
        fresh=fresh,
    )


def build_openwebtext2(
    settings: Settings, observer: Observer = SILENT, *, fresh: bool = False
) -> dict[str, Built]:
    """The OpenWebText2 archive to ``openwebtext2.{train,valid,test}.raw``."""
    from perigee.corpus import openwebtext2

    source = sources(settings, observer)
    return openwebtext2.build_openwebtext2(
        source.openwebtext2,
        Path(settings.data.directory),
        source.openwebtext2_limits,
        sampling=settings.data.archive_sampling,
        observer=observer,
        fresh=fresh,
    )


def build_unified(
    settings: Settings, observer: Observer = SILENT, *, fresh: bool = False
) -> dict[str, Built]:
    """Both corpora, alternating, to ``unified.{train,valid,test}.raw``."""
    from perigee.corpus import unify

    outputs: Mapping[str, Path] = {s: settings.raw_path("unified", s) for s in SPLITS}
    return unify.build_unified(
        Path(settings.data.directory),
        outputs=outputs,
        near_duplicates=settings.data.near_duplicates,
        seed=settings.training.seed,
        observer=observer,
        fresh=fresh,
    )


def build_vocabulary(
    settings: Settings, observer: Observer = SILENT, *, fresh: bool = False
) -> Built:
    """The most frequent words of the training documents."""
    from perigee.tokenizer import vocabulary

    training = settings.training
    return vocabulary.build_vocabulary(
        settings.raw_path("unified", "train"),
        Path(training.vocab_path),
        training.vocab_size,
        observer=observer,
        fresh=fresh,
    )


def build_windows(
    settings: Settings, split: str, observer: Observer = SILENT, *, fresh: bool = False
) -> Built:
    """Windows of word ids of one split."""
    from perigee.tokenizer import windows

    training = settings.training
    most = training.max_sequences if split == "train" else training.max_valid_sequences
    return windows.build_windows(
        settings.raw_path("unified", split),
        Path(training.vocab_path),
        settings.windows_path(split),
        sequence_length=training.sequence_length,
        stride=training.stride if split == "train" else training.sequence_length,
        max_sequences=most,
        seed=training.seed,
        mixture=settings.data.mixture if split == "train" else "documents",
        observer=observer,
        fresh=fresh,
    )


def prepare(settings: Settings, observer: Observer = SILENT, *, fresh: bool = False) -> None:
    """Vocabulary and windows of every split, from the unified documents."""
    build_vocabulary(settings, observer, fresh=fresh)
    for split in SPLITS:
        build_windows(settings, split, observer, fresh=fresh)
