from __future__ import annotations

from dataclasses import replace

from perigee.manifest import Input, Manifest
from perigee.settings import ScheduleSettings, Settings, TrainingSettings
from perigee.training.recipe import (
    CODE_VERSION,
    STAGE,
    TrainingRecipe,
    decisive_settings,
    differences,
)

DATA = (
    Input("windows.train", "a" * 64, details={"stride": 8, "max_sequences": 4}),
    Input("vocabulary", "v" * 64),
)


def manifest(settings: Settings, inputs: tuple[Input, ...] = DATA) -> Manifest:
    return Manifest("x", STAGE, CODE_VERSION, decisive_settings(settings), inputs, (), {})


def changed(**training: object) -> tuple[str, ...]:
    wanted = Settings(training=TrainingSettings(**training))
    return differences(manifest(Settings()), decisive_settings(wanted), DATA)


def test_nothing_differs() -> None:
    assert changed() == ()


def test_what_decides_no_weight_may_change() -> None:
    assert changed(log_every=1, use_gpu=False, snapshot_minutes=1.0, accumulate=1, epochs=99) == ()


def test_differences_name_old_and_new() -> None:
    assert changed(learning_rate=0.25, seed=7) == (
        "[training] learning_rate: 0.00015 -> 0.25",
        "[training] seed: 424242 -> 7",
    )


def test_epochs_count_where_the_schedule_is_stretched_over_them() -> None:
    schedule = ScheduleSettings(type="cosine")
    old = manifest(Settings(training=TrainingSettings(lr_schedule=schedule)))
    new = decisive_settings(Settings(training=TrainingSettings(lr_schedule=schedule, epochs=9)))
    assert differences(old, new, DATA) == ("[training] epochs: 8 -> 9",)


def test_nested_tables_are_named() -> None:
    found = changed(lr_schedule=ScheduleSettings(warmup_steps=3))
    assert found == ("[training.lr_schedule] warmup_steps: 0 -> 3",)


def test_another_version_of_the_code_is_named() -> None:
    old = replace(manifest(Settings()), code_version="1")
    found = differences(old, decisive_settings(Settings()), DATA)
    assert found == (f"code version: 1 -> {CODE_VERSION}",)


def test_data_that_changed_is_explained() -> None:
    inputs = (Input("windows.train", "b" * 64, details={"stride": 8, "max_sequences": 2}), DATA[1])
    assert differences(manifest(Settings()), decisive_settings(Settings()), inputs) == (
        "windows.train: aaaaaaaa -> bbbbbbbb (max_sequences: 4 -> 2)",
    )
    assert differences(manifest(Settings()), decisive_settings(Settings()), DATA[:1]) == (
        "vocabulary: vvvvvvvv -> none",
    )


def test_an_epoch_hangs_on_the_one_before() -> None:
    recipe = TrainingRecipe(decisive_settings(Settings()), DATA)
    first = manifest(Settings())
    assert recipe.inputs(1, None) == DATA
    assert recipe.inputs(2, first) == (*DATA, Input("checkpoint.epoch_1", first.version))
