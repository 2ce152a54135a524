"""Every asset and check of the project, for a training of so many epochs."""

from collections.abc import Sequence

import dagster as dg

from assets.corpus import openwebtext2_raw, pg19_raw, unified_raw
from assets.corpus_checks import source_checks, unified_checks
from assets.generation import build_evaluation, build_samples, model_card
from assets.generation_checks import generation_checks
from assets.sources import openwebtext2_archive, pg19_shards
from assets.token_checks import vocabulary_check, windows_checks
from assets.tokens import vocabulary, windows
from assets.training import build_training, training_metrics


def build_checks() -> Sequence[dg.AssetChecksDefinition]:
    """The checks that look at finished artifacts; training makes its own as it goes."""
    return [source_checks, unified_checks, vocabulary_check, windows_checks, generation_checks]


def build_assets(epochs: int) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """The graph from the sources to the samples; its number of nodes depends on ``epochs``."""
    return [
        pg19_shards,
        openwebtext2_archive,
        pg19_raw,
        openwebtext2_raw,
        unified_raw,
        vocabulary,
        windows,
        build_training(epochs),
        training_metrics,
        build_evaluation(epochs),
        build_samples(epochs),
        model_card,
    ]
