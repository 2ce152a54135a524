"""Whether a checkpoint is whole and better than the one before."""

from pathlib import Path

import dagster as dg

from assets.findings import Finding
from assets.names import checkpoint_key
from perigee.errors import PerigeeError
from perigee.files import read_json

VERIFIED = "verified_and_finite"
FALLING = "bound_below_previous"


def checkpoint_check_specs(epochs: int) -> list[dg.AssetCheckSpec]:
    """The checks that training makes of each epoch as soon as it is on disk."""
    verified = [
        dg.AssetCheckSpec(
            VERIFIED,
            asset=checkpoint_key(epoch),
            blocking=True,
            description=verified_and_finite.__doc__,
        )
        for epoch in range(1, epochs + 1)
    ]
    falling = [
        dg.AssetCheckSpec(FALLING, asset=checkpoint_key(epoch), description=bound_falling.__doc__)
        for epoch in range(2, epochs + 1)
    ]
    return verified + falling


def verified_and_finite(directory: Path) -> Finding:
    """The files hold what the manifest says, and every number in them is finite."""
    import numpy as np
    from safetensors.numpy import load_file

    from perigee.training.layout import kept_files, verify_checkpoint

    numbers = 0
    try:
        manifest = verify_checkpoint(directory)
    except PerigeeError as error:
        return Finding(str(error))
    for file in (f.path for f in kept_files(manifest) if f.path.endswith(".safetensors")):
        for name, tensor in load_file(directory / file).items():
            if not np.isfinite(tensor).all():
                return Finding(f"{directory / file}: {name} is not finite")
            numbers += tensor.size
    return Finding(metadata={"numbers": numbers})


def bound_falling(bound: float, before: Path) -> Finding:
    """The validation bound is below that of the epoch before."""
    previous = read_json(before / "state.json")["validation"]["nats_per_word"]
    shown = {"bound (nats a word)": bound, "epoch before": previous}
    problem = "" if bound < previous else f"{bound:.4f} nats a word, {previous:.4f} before"
    return Finding(problem, shown, warn=True)
