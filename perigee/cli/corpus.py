"""``perigee corpus``: source shards to documents, as the original's three scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perigee.cli.console import ConsoleObserver

if TYPE_CHECKING:
    from perigee.corpus.documents import Limits
    from perigee.manifest import Built

app = typer.Typer(no_args_is_help=True, help="Build the corpora: books, web pages, both together.")

Root = Annotated[
    str, typer.Option("--root", envvar="PERIGEE_PG19_ROOT", help="Directory of the parquet shards.")
]
Source = Annotated[
    str,
    typer.Option(
        "--source", envvar="PERIGEE_OPENWEBTEXT2_URL", help="URL or path of the .jsonl.zst.tar."
    ),
]
OutputDirectory = Annotated[Path, typer.Option("--output-dir", help="Where the .raw files go.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Build again what is there already.")]


@app.command("pg19")
def pg19(
    root: Root,
    train_limit: Annotated[str, typer.Option(help='Books, or "all".')] = "2000",
    valid_limit: Annotated[str, typer.Option(help='Books, or "all".')] = "200",
    test_limit: Annotated[str, typer.Option(help='Books, or "all".')] = "200",
    output_dir: OutputDirectory = Path("data_sets"),
    fresh: Fresh = False,
) -> None:
    """PG-19 shards to pg19.{train,valid,test}.raw."""
    wanted = _limits(train=train_limit, valid=valid_limit, test=test_limit, ending="limit")
    from perigee.corpus.pg19 import build_pg19

    with ConsoleObserver() as observer:
        built = build_pg19(Path(root), output_dir, wanted, observer=observer, fresh=fresh)
    _report(built)


@app.command("openwebtext2")
def openwebtext2(
    source: Source,
    train_count: Annotated[str, typer.Option(help='Pages, or "all".')] = "2000",
    val_count: Annotated[str, typer.Option(help='Pages, or "all".')] = "200",
    test_count: Annotated[str, typer.Option(help='Pages, or "all".')] = "200",
    output_dir: OutputDirectory = Path("data_sets"),
    fresh: Fresh = False,
) -> None:
    """The OpenWebText2 archive, from a URL or a file, to openwebtext2.{train,valid,test}.raw."""
    wanted = _limits(train=train_count, val=val_count, test=test_count, ending="count")
    from perigee.corpus.openwebtext2 import build_openwebtext2

    with ConsoleObserver() as observer:
        built = build_openwebtext2(source, output_dir, wanted, observer=observer, fresh=fresh)
    _report(built)


@app.command("unify")
def unify(
    output_dir: OutputDirectory = Path("data_sets"),
    near_duplicates: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Leave out texts that share so much of their runs of five words with another;"
            " 0: exact duplicates only.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the hash functions for that.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Both corpora, alternating document by document, to unified.{train,valid,test}.raw."""
    from perigee.corpus.unify import build_unified

    with ConsoleObserver() as observer:
        built = build_unified(
            output_dir, near_duplicates=near_duplicates, seed=seed, observer=observer, fresh=fresh
        )
    _report(built)


@app.command("sample")
def sample(
    words: Annotated[
        int, typer.Option(min=10_000, help="Words to collect at the most.")
    ] = 1_000_000,
    output_dir: OutputDirectory = Path("data_sets/embedded"),
    fresh: Fresh = False,
) -> None:
    """Write the embedded sample: installed documentation as real shards and a real archive."""
    from perigee.corpus.documents import Limits
    from perigee.corpus.embedded import build_embedded

    with ConsoleObserver() as observer:
        found = build_embedded(
            output_dir, Limits(0, 0, 0), words=words, observer=observer, fresh=fresh
        )
    print(f"books: {found.pg19_root}\npages: {found.archive}")


def _limits(*, ending: str, **given: str) -> Limits:
    from perigee.corpus.documents import Limits
    from perigee.errors import SettingsError

    numbers = []
    for name, value in given.items():
        if value != "all" and not (value.isascii() and value.isdigit()):
            raise SettingsError(
                f"is {value!r}", place=f"--{name}-{ending}", expected='a whole number or "all"'
            )
        numbers.append(0 if value == "all" else int(value))
    return Limits(*numbers)


def _report(built: Mapping[str, Built]) -> None:
    for one in built.values():
        manifest = one.manifest
        counts = manifest.counts
        state = "unchanged" if one.reused else "written"
        dropped = sum(manifest.dropped.values())
        print(
            f"{one.path.parent / manifest.artifact}: {state}, {counts['documents']:,} documents, "
            f"{counts['words']:,} words, {dropped:,} dropped"
        )
