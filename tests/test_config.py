from __future__ import annotations

from pathlib import Path

import pytest

from perigee.config import Settings, load_settings, parse_settings, resume_requested
from perigee.errors import SettingsError

ROOT = Path(__file__).resolve().parents[1]


def parse(document: dict[str, object], **environ: str) -> Settings:
    return parse_settings(document, "file.toml", environ)


def error_of(document: dict[str, object], **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(document, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.name)
def test_every_settings_file_that_comes_along_loads(path: Path) -> None:
    assert load_settings(path, {}).training.epochs >= 1


def test_the_training_file_holds_the_originals_values() -> None:
    settings = load_settings(ROOT / "configs/perigee_train.toml", {})
    model, training, data = settings.model, settings.training, settings.data
    assert (model.num_layers, model.model_dim, model.oscillator_count) == (32, 128, 16)
    assert (model.num_heads, model.mamba_repeat, model.radius_factor) == (8, 2, 4.0)
    assert (model.min_radius, model.max_radius, model.base_radius) == (24, 256, 24)
    assert (training.sequence_length, training.stride, training.max_sequences) == (2048, 2048, 8192)
    assert (training.batch_size, training.epochs, training.learning_rate) == (1, 8, 1.5e-4)
    assert training.seed == 424242
    assert (data.train_limit, data.valid_limit, data.test_limit) == (2000, 200, 200)


def test_the_smoke_file_is_the_same_stack_under_other_names() -> None:
    smoke = load_settings(ROOT / "configs/perigee_smoke.toml", {})
    full = load_settings(ROOT / "configs/perigee_train.toml", {})
    assert smoke.model.model_copy(update={"max_radius": 256}) == full.model
    assert (smoke.model.max_radius, smoke.training.max_sequences) == (192, 32)
    assert (smoke.training.epochs, smoke.training.learning_rate) == (1, 5e-4)
    assert smoke.training.seed == 1337
    assert smoke.training.log_path == "artifacts/perigee/logs/smoke_log.jsonl"
    assert smoke.checkpoint_path(1).name == "perigee_smoke_epoch1"


ORIGINAL = """
[model]
num_layers = 32
model_dim = 128
oscillator_count = 16
num_heads = 8
mamba_repeat = 2
radius_factor = 4.0
min_radius = 24
max_radius = 256

[training]
train_path = "data_sets/unified.train.raw"
val_path = "data_sets/unified.valid.raw"
sequence_length = 2048
stride = 2048
max_sequences = 8192
batch_size = 1
epochs = 8
learning_rate = 1.5e-4
mask_fraction = 0.4
unmask_fraction = 0.1
seed = 424242
vocab_path = "artifacts/perigee/perigee_vocab.json"
checkpoint_dir = "artifacts/perigee/checkpoints"
log_path = "artifacts/perigee/logs/training_log.jsonl"
checkpoint_name = "perigee.jls"
use_gpu = true
optimizer = "adamw"
weight_decay = 0.01
tensorboard_dir = "artifacts/perigee/tensorboard"

[training.lr_schedule]
type = "cosine"
"""


def test_the_originals_files_load_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "perigee_train.toml"
    path.write_text(ORIGINAL)
    settings = load_settings(path, {})
    assert settings.training.mask_fraction == 0.4
    assert settings.training.lr_schedule.type == "cosine"
    assert settings.checkpoint_path(3) == Path("artifacts/perigee/checkpoints/perigee_epoch3")


def test_a_whole_number_serves_where_a_real_one_is_meant() -> None:
    assert parse({"model": {"radius_factor": 4}}).model.radius_factor == 4.0


def test_all_means_no_limit() -> None:
    assert parse({"data": {"train_limit": "all"}}).data.train_limit == 0


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    assert error_of({"model": {"num_layer": 3}}) == (
        "file.toml: unknown key [model] num_layer; did you mean 'num_layers'?"
    )


def test_an_unknown_table_is_named() -> None:
    assert "did you mean 'model'?" in error_of({"modle": {}})


def test_a_key_like_no_other_lists_the_known_ones() -> None:
    assert "known here: model_dim" not in error_of({"generation": {"zzz": 1}})
    assert "known here: batch, block_length" in error_of({"generation": {"zzz": 1}})


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("model", "num_layers", 0, "greater than or equal to 1"),
        ("model", "num_layers", "32", "a valid integer"),
        ("model", "num_layers", True, "a valid integer"),
        ("training", "optimizer", "sgd", "'adam', 'adamw' or 'muon'"),
        ("training", "mask_fraction", 1.0, "less than 1"),
        ("data", "train_limit", -1, "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_told_with_file_key_value_and_range(
    table: str, key: str, value: object, expected: str
) -> None:
    message = error_of({table: {key: value}})
    assert message.startswith(f"file.toml: [{table}] {key} is {value!r}; expected ")
    assert expected in message


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("PERIGEE_NUM_LAYERS", "num_layers"),
        ("PERIGEE_NUM_HEADS", "num_heads"),
        ("PERIGEE_OSCILLATOR_COUNT", "oscillator_count"),
    ],
)
def test_the_environment_overrides_the_model(variable: str, key: str) -> None:
    assert getattr(parse({"model": {key: 3}}, **{variable: "5"}).model, key) == 5
    assert getattr(parse({"model": {key: 3}}, **{variable: ""}).model, key) == 3


def test_twelve_heads_are_allowed_on_128_channels_as_in_the_originals_example() -> None:
    overrides = {"PERIGEE_NUM_LAYERS": "24", "PERIGEE_NUM_HEADS": "12"}
    assert parse({}, PERIGEE_OSCILLATOR_COUNT="32", **overrides).model.num_heads == 12


@pytest.mark.parametrize("value", ["x", "0", "-3", "2.5"])
def test_a_bad_override_names_the_variable(value: str) -> None:
    message = error_of({}, PERIGEE_NUM_LAYERS=value)
    assert message.startswith(f"PERIGEE_NUM_LAYERS: is {value!r}; expected a whole number")


def test_the_environment_gives_the_sources() -> None:
    settings = parse({}, PERIGEE_PG19_ROOT="/books", PERIGEE_OPENWEBTEXT2_URL="http://h/x.tar")
    assert (settings.data.pg19_root, settings.data.openwebtext2) == ("/books", "http://h/x.tar")


def test_the_environment_chooses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nepochs = 3\n")
    assert load_settings(None, {"PERIGEE_CONFIG": str(path)}).training.epochs == 3


def test_a_missing_or_broken_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(tmp_path / "absent.toml", {})
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\n")
    with pytest.raises(SettingsError, match=r"broken\.toml: is not TOML"):
        load_settings(broken, {})


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    assert "expected at most max_radius (256)" in error_of({"model": {"min_radius": 300}})
    assert "divisor of batch_size (4)" in error_of({"training": {"batch_size": 4, "accumulate": 3}})


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False)])
def test_resume_is_asked_for_by_the_environment(value: str, wanted: bool) -> None:
    assert resume_requested({"PERIGEE_RESUME": value}) is wanted


def test_a_bad_resume_is_an_error() -> None:
    with pytest.raises(SettingsError, match="PERIGEE_RESUME: is 'maybe'"):
        resume_requested({"PERIGEE_RESUME": "maybe"})


def test_settings_cannot_be_changed_after_reading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse({}).model.num_layers = 3
