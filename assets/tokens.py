"""Documents to word ids: the vocabulary and the windows."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets import code_versions
from assets.names import DATA_OWNERS, TOKENS, VOCABULARY, raw_key, windows_key
from assets.results import materialized
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee import stages
from perigee.corpus.documents import SPLITS
from perigee.files import read_json

WINDOW_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("tokens", "fixed_size_list<uint16>", description="Word ids"),
        dg.TableColumn("first_document", "int64", description="Line of the first word's document"),
        dg.TableColumn("last_document", "int64", description="Line of the last word's document"),
        dg.TableColumn("first_word", "int64", description="Place in the packed stream of words"),
    ]
)
PREVIEW_WORDS = 40


@dg.asset(
    key=VOCABULARY,
    deps=[raw_key("unified", "train")],
    group_name=TOKENS,
    code_version=code_versions.VOCABULARY,
    kinds={"json"},
    owners=DATA_OWNERS,
    description=(
        "The most frequent words of the training documents, after [PAD] [MASK] [UNK] [BOS] [EOS]: "
        "a JSON array in the order of their ids, and `tokenizer.json` for other tools."
    ),
)
def vocabulary(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> dg.MaterializeResult:
    """Count the words of the training split, of no other."""
    with watched(context) as observer:
        settings = settings_file.read()
        built = stages.build_vocabulary(settings, observer)
        words = read_json(Path(settings.training.vocab_path))
        shown = {"dagster/row_count": len(words), "first words": " ".join(words[:PREVIEW_WORDS])}
        return materialized(VOCABULARY, built, shown)


@dg.multi_asset(
    name="windows",
    specs=[
        dg.AssetSpec(
            windows_key(split),
            deps=[raw_key("unified", split), VOCABULARY],
            group_name=TOKENS,
            code_version=code_versions.WINDOWS,
            kinds={"arrow"},
            owners=DATA_OWNERS,
            description=(
                f"Windows of the {split} documents as word ids, packed as [BOS] words [EOS], "
                "memory-mapped from an Arrow file, each with the documents that it came from."
            ),
            metadata={"dagster/column_schema": WINDOW_COLUMNS},
        )
        for split in SPLITS
    ],
    can_subset=True,
)
def windows(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.MaterializeResult]:
    """Encode the documents and choose windows with the seed, so that both sources are there."""
    with watched(context) as observer:
        settings = settings_file.read()
        for split in SPLITS:
            if windows_key(split) in context.selected_asset_keys:
                built = stages.build_windows(settings, split, observer)
                rows = built.manifest.counts["windows"]
                yield materialized(windows_key(split), built, {"dagster/row_count": rows})
