from __future__ import annotations

from pathlib import Path

import pytest
import torch
from generation_toys import SMALL_WORDS

from perigee.settings import Settings
from perigee.tokenizer.prime import SPECIAL_TOKENS, PrimeTokenizer
from perigee.training.checkpoint import CheckpointRecord, save_checkpoint, vocabulary_files
from perigee.training.learner import build_learner
from perigee.training.recipe import epoch_name


@pytest.fixture
def make_checkpoint():
    """Write an untrained checkpoint of an epoch; the directory."""

    def make(settings: Settings, epoch: int = 1) -> Path:
        tokenizer = PrimeTokenizer((*SPECIAL_TOKENS, *SMALL_WORDS))
        learner = build_learner(settings, len(tokenizer), torch.device("cpu"))
        record = CheckpointRecord(
            epoch_name(epoch),
            settings.model_dump(mode="json"),
            (),
            vocabulary_files(tokenizer),
            {},
            {},
        )
        path = settings.checkpoint_path(epoch)
        save_checkpoint(path, learner, record)
        return path

    return make
