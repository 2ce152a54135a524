from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from perigee.errors import ArtifactError
from perigee.model.denoiser import Denoiser
from perigee.model.mixer import OscillatorMixer
from perigee.model.shape import DenoiserShape

SHAPE = DenoiserShape(
    vocabulary_size=60,
    model_dim=24,
    num_heads=3,
    oscillator_count=4,
    num_layers=2,
    mamba_repeat=2,
    radius_factor=1.0,
    base_radius=2,
    min_radius=2,
    max_radius=64,
    sequence_length=64,
)


def words(B: int, L: int, seed: int = 0) -> Tensor:
    return torch.randint(5, 60, (B, L), generator=torch.Generator().manual_seed(seed))


def test_shape_survives_a_dictionary() -> None:
    assert DenoiserShape.from_dict(SHAPE.to_dict()) == SHAPE
    with pytest.raises(ArtifactError, match="lacks model_dim"):
        DenoiserShape.from_dict({k: v for k, v in SHAPE.to_dict().items() if k != "model_dim"})
    with pytest.raises(ArtifactError, match="unknown wings"):
        DenoiserShape.from_dict({**SHAPE.to_dict(), "wings": 2})


@pytest.mark.parametrize(
    ("length", "radius"), [(1, 24), (2, 28), (2048, 68), (16_384, 80), (2**60, 256)]
)
def test_radius(length: int, radius: int) -> None:
    shape = dataclasses.replace(
        SHAPE, radius_factor=4.0, base_radius=24, min_radius=24, max_radius=256
    )
    assert shape.radius(length) == radius


def test_initial_values_are_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    first = Denoiser(SHAPE, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = Denoiser(SHAPE, seed=3).state_dict(), Denoiser(SHAPE, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


@pytest.mark.parametrize("length", [1, 2, 31, 64, 100])
def test_any_length(length: int) -> None:
    denoiser = Denoiser(SHAPE)
    hidden = denoiser.hidden(words(2, length))
    assert hidden.shape == (2, length, 24)
    assert denoiser.logits(hidden[0]).shape == (length, 60)
    assert hidden.isfinite().all()


@pytest.mark.parametrize(("heads", "repeat"), [(5, 1), (7, 0), (1, 2)])
def test_heads_need_not_divide_the_width(heads: int, repeat: int) -> None:
    shape = dataclasses.replace(SHAPE, num_heads=heads, mamba_repeat=repeat)
    assert shape.head_dim % 2 == 0
    assert shape.inner_dim >= shape.model_dim
    assert Denoiser(shape).hidden(words(1, 9)).shape == (1, 9, 24)


def test_initial_loss_is_near_that_of_a_uniform_guess() -> None:
    denoiser = Denoiser(SHAPE)
    hidden = denoiser.hidden(torch.full((4, 32), 1))
    targets = words(4, 32, seed=5).flatten()
    loss = torch.nn.functional.cross_entropy(denoiser.logits(hidden.flatten(0, 1)), targets)
    assert abs(loss.item() - math.log(60)) < 2


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [1, 20, 45])
def test_output_independent_of_padding_and_of_other_rows(length: int, side: str) -> None:
    denoiser = Denoiser(SHAPE).double()
    alone = denoiser.hidden(words(1, length))
    batch = words(3, 70, seed=8)
    is_padding = torch.zeros(3, 70, dtype=torch.bool)
    place = slice(0, length) if side == "right" else slice(70 - length, 70)
    batch[1, place] = words(1, length)[0]
    is_padding[1] = True
    is_padding[1, place] = False
    is_padding[2, 60:] = True
    padded = denoiser.hidden(batch, is_padding)
    torch.testing.assert_close(padded[1, place], alone[0], rtol=1e-9, atol=1e-9)
    assert padded.isfinite().all()


def test_a_distant_change_passes_the_oscillators_but_not_the_attention() -> None:
    changed, plain = words(1, 64), words(1, 64)
    changed[0, 0] = 5 if plain[0, 0] != 5 else 6
    for repeat, reaches in ((2, True), (0, False)):
        shape = dataclasses.replace(SHAPE, mamba_repeat=repeat, num_layers=1)
        denoiser = Denoiser(shape).double()
        difference = denoiser.hidden(changed) - denoiser.hidden(plain)
        moved = difference[0].abs().amax(-1)
        radius = shape.radius(64)
        assert moved[radius] > 0
        assert bool((moved[radius + 1 :] > 0).all()) is reaches
        assert bool((moved[radius + 1 :] == 0).all()) is not reaches


def test_oscillators_cover_two_words_to_the_window() -> None:
    mixer = Denoiser(dataclasses.replace(SHAPE, sequence_length=2048)).blocks[0].mixers[0]
    assert isinstance(mixer, OscillatorMixer)
    step = mixer.clock(torch.zeros(1, 1, 3))
    torch.testing.assert_close(step, torch.ones(1, 1, 3))
    period = 2 * math.pi / mixer.eigenvalues()[1]
    assert period.min().item() == pytest.approx(2.0)
    assert period.max().item() == pytest.approx(2048.0, rel=1e-4)
    in_order = period.flatten().sort().values
    ratio = in_order[1:] / in_order[:-1]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("extreme", [-80.0, -5.0, 0.0, 5.0, 80.0])
def test_eigenvalues_stay_inside_the_unit_circle_whatever_is_learned(extreme: float) -> None:
    mixer = Denoiser(SHAPE).blocks[0].mixers[0]
    with torch.no_grad():
        mixer.log_damping.fill_(extreme)
    steps = mixer.clock(torch.full((1, 1, 3), extreme))
    damping, _ = mixer.eigenvalues()
    assert (steps > 0).all()
    assert (damping > 0).all()
    assert (damping.double() * steps.double() > 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extreme_embeddings_stay_finite(scale: float) -> None:
    denoiser = Denoiser(SHAPE)
    with torch.no_grad():
        denoiser.embedding.mul_(scale)
    hidden = denoiser.hidden(words(2, 50))
    hidden.sum().backward()
    assert hidden.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in denoiser.parameters())


def test_bfloat16_is_near_float32() -> None:
    exact = Denoiser(SHAPE).hidden(words(2, 50))
    with torch.autocast("cpu", torch.bfloat16):
        near = Denoiser(SHAPE).hidden(words(2, 50))
    pure = Denoiser(SHAPE).to(torch.bfloat16).hidden(words(2, 50))
    for other in (near, pure):
        assert (other.float() - exact).square().mean().sqrt() < 0.05


def test_glimpses_change_only_what_they_reach() -> None:
    denoiser = Denoiser(SHAPE, glimpse_moduli=(4, 5, 7))
    hidden = torch.full((1, 10, 3), -1)
    seen = hidden.clone()
    seen[0, 3, 1] = 2
    plain = denoiser.hidden(words(1, 10))
    torch.testing.assert_close(denoiser.hidden(words(1, 10), None, hidden), plain)
    assert not torch.allclose(denoiser.hidden(words(1, 10), None, seen), plain)


def test_parameters_by_part_count_all() -> None:
    denoiser = Denoiser(SHAPE, glimpse_moduli=(4, 5, 7))
    counts = denoiser.parameters_by_part()
    assert sum(counts.values()) == sum(p.numel() for p in denoiser.parameters())
    assert counts["embedding and head"] == 60 * 24 + 60 + 24
    assert counts["glimpses"] == 16 * 24


def test_thirty_two_layers_start_level_and_train_from_the_first_step() -> None:
    denoiser = Denoiser(dataclasses.replace(SHAPE, num_layers=32))
    ids = words(4, 16, seed=2)
    ids[:, 1::2] = ids[:, ::2]  # every second word repeats the one before: easily told
    hidden_words = torch.zeros(4, 16, dtype=torch.bool)
    hidden_words[:, 1::2] = True
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=3e-3)
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        hidden = denoiser.hidden(ids.masked_fill(hidden_words, 1))
        loss = torch.nn.functional.cross_entropy(
            denoiser.logits(hidden[hidden_words]), ids[hidden_words]
        )
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            norms = torch.tensor(
                [
                    torch.stack(
                        [p.grad.norm() for p in b.parameters() if p.grad is not None]
                    ).norm()
                    for b in denoiser.blocks
                ]
            )
            assert norms.max() < 4 * norms.min()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
    assert max(losses[1:]) < losses[0] + 0.2
    assert losses[-1] < losses[0] - 1.0


def test_a_row_of_nothing_but_padding_is_finite() -> None:
    denoiser = Denoiser(SHAPE)
    is_padding = torch.zeros(2, 40, dtype=torch.bool)
    is_padding[1] = True
    hidden = denoiser.hidden(words(2, 40), is_padding)
    hidden[0].sum().backward()
    assert hidden.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in denoiser.parameters())
    torch.testing.assert_close(hidden[:1], denoiser.hidden(words(2, 40)[:1]))
