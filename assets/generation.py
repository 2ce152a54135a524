"""What a finished training is worth: its evaluation, its samples."""

from pathlib import Path

import dagster as dg

from assets import code_versions
from assets.curves import as_markdown
from assets.device import device_lease
from assets.names import (
    DEVICE_POOL,
    EVALUATION,
    GENERATION,
    MODEL_CARD,
    MODEL_OWNERS,
    SAMPLES,
    checkpoint_key,
    raw_key,
    windows_key,
)
from assets.results import materialized
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee.model_card import build_model_card

LARGEST_INLINE_GIF = 1_000_000
"""Bytes of a GIF that is kept in the event log to be shown; a larger one is linked."""


def build_evaluation(epochs: int) -> dg.AssetsDefinition:
    """The evaluation of the last of ``epochs`` checkpoints."""

    @dg.asset(
        key=EVALUATION,
        deps=[
            checkpoint_key(epochs),
            *(raw_key("unified", split) for split in ("train", "test")),
            *(windows_key(split) for split in ("train", "test")),
        ],
        group_name=GENERATION,
        code_version=code_versions.EVALUATION,
        kinds={"pytorch", "json"},
        owners=MODEL_OWNERS,
        pool=DEVICE_POOL,
        automation_condition=dg.AutomationCondition.eager(),
        description=(
            "The last checkpoint on the test windows, by source and together, with standard "
            "errors: the bound, per word and with every [UNK] spelled out, the likelihood of the "
            "actual sampler, the unigram's for comparison, and how varied its texts are."
        ),
    )
    def evaluation(
        context: dg.AssetExecutionContext, settings_file: SettingsFile
    ) -> dg.MaterializeResult:
        """Every figure says whether it is a bound or exact."""
        from perigee.training.evaluation import evaluate

        with watched(context) as observer, device_lease(context):
            settings = settings_file.read()
            built = evaluate(settings, settings.checkpoint_path(settings.training.epochs), observer)
            report = settings.evaluation_path().with_suffix(".md")
            shown = {"report": dg.MetadataValue.md(report.read_text(encoding="utf-8"))}
            return materialized(EVALUATION, built, shown)

    return evaluation


def build_samples(epochs: int) -> dg.AssetsDefinition:
    """Samples of the last of ``epochs`` checkpoints."""

    @dg.asset(
        key=SAMPLES,
        deps=[checkpoint_key(epochs)],
        group_name=GENERATION,
        code_version=code_versions.SAMPLES,
        kinds={"pytorch", "text"},
        owners=MODEL_OWNERS,
        pool=DEVICE_POOL,
        automation_condition=dg.AutomationCondition.eager(),
        description=(
            "Texts denoised from the prompts of `[generation]`, with every step as text, as a GIF "
            "and as a page: what the model can do."
        ),
    )
    def samples(
        context: dg.AssetExecutionContext, settings_file: SettingsFile
    ) -> dg.MaterializeResult:
        """Denoise from the settings' prompts and seed."""
        from perigee.generation import samples as library

        with watched(context) as observer, device_lease(context):
            settings = settings_file.read()
            checkpoint = settings.checkpoint_path(settings.training.epochs)
            built = library.build_samples(settings, checkpoint, observer)
            return materialized(SAMPLES, built, samples_shown(settings.samples_path()))

    return samples


@dg.asset(
    key=MODEL_CARD,
    deps=[EVALUATION, SAMPLES],
    group_name=GENERATION,
    code_version=code_versions.MODEL_CARD,
    kinds={"markdown"},
    owners=MODEL_OWNERS,
    automation_condition=dg.AutomationCondition.eager(),
    description=(
        "Data, settings, bounds, samples, lineage and limits of the last checkpoint on one page, "
        "every figure from the artifacts' own records."
    ),
)
def model_card(
    context: dg.AssetExecutionContext, settings_file: SettingsFile
) -> dg.MaterializeResult:
    """Gather what the artifacts say of themselves."""
    with watched(context) as observer:
        settings = settings_file.read()
        built = build_model_card(settings, observer)
        text = settings.model_card_path().read_text(encoding="utf-8")
        return materialized(MODEL_CARD, built, {"card": dg.MetadataValue.md(text)})


def samples_shown(directory: Path) -> dict[str, dg.MetadataValue]:
    """The texts and the GIF themselves, links to the rest."""
    text = (directory / "samples.txt").read_text(encoding="utf-8")
    shown: dict[str, dg.MetadataValue] = {
        "samples": dg.MetadataValue.md(f"```\n{text.strip()}\n```"),
        "frames": dg.MetadataValue.path((directory / "frames.txt").absolute()),
        "page": dg.MetadataValue.path((directory / "samples.html").absolute()),
        "gif": dg.MetadataValue.path((directory / "samples.gif").absolute()),
    }
    gif = (directory / "samples.gif").read_bytes()
    if len(gif) <= LARGEST_INLINE_GIF:
        shown["denoising"] = as_markdown(gif, "denoising", "gif")
    return shown
