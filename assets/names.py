"""What the graph calls things: keys, groups, owners, the pool of the device."""

import dagster as dg

SOURCES = "sources"
CORPUS = "corpus"
TOKENS = "tokens"
TRAINING = "training"
GENERATION = "generation"
"""Groups, in the order in which text goes through them."""

DATA_OWNERS = ["team:data"]
MODEL_OWNERS = ["team:model"]

DEVICE_POOL = "device"
"""Pool of the steps that compute on the device; its one slot is set in dagster.yaml."""

PG19_SHARDS = dg.AssetKey("pg19.shards")
OPENWEBTEXT2_ARCHIVE = dg.AssetKey("openwebtext2.archive")
VOCABULARY = dg.AssetKey("vocabulary")
TRAINING_METRICS = dg.AssetKey("training_metrics")
EVALUATION = dg.AssetKey("evaluation")
SAMPLES = dg.AssetKey("samples")
MODEL_CARD = dg.AssetKey("model_card")


def raw_key(corpus: str, split: str) -> dg.AssetKey:
    """``pg19.train.raw``: one dotted part, because the graph shows only a key's last part."""
    return dg.AssetKey(f"{corpus}.{split}.raw")


def windows_key(split: str) -> dg.AssetKey:
    """``windows.train``."""
    return dg.AssetKey(f"windows.{split}")


def checkpoint_key(epoch: int) -> dg.AssetKey:
    """``checkpoint.epoch_1``."""
    return dg.AssetKey(f"checkpoint.epoch_{epoch}")
