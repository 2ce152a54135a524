"""Whether a checkpoint holds what its manifest says, in finite numbers."""

from pathlib import Path

import dagster as dg

from assets.names import checkpoint_key
from perigee.errors import PerigeeError

VERIFIED = "verified_and_finite"


def checkpoint_check_specs(epochs: int) -> list[dg.AssetCheckSpec]:
    """The checks that training makes of each epoch as soon as it is on disk."""
    return [
        dg.AssetCheckSpec(
            VERIFIED,
            asset=checkpoint_key(epoch),
            blocking=True,
            description="The files hold what the manifest says; every weight is finite.",
        )
        for epoch in range(1, epochs + 1)
    ]


def checkpoint_verified(key: dg.AssetKey, directory: Path) -> dg.AssetCheckResult:
    """Read the checkpoint back from disk."""
    import numpy as np
    from safetensors.numpy import load_file

    from perigee.training.checkpoint import verify_checkpoint

    numbers = 0
    problem = ""
    try:
        manifest = verify_checkpoint(directory)
        for file in (f.path for f in manifest.files if f.path.endswith(".safetensors")):
            for name, tensor in load_file(directory / file).items():
                numbers += tensor.size
                if not np.isfinite(tensor).all():
                    problem = problem or f"{file}: {name} is not finite"
    except PerigeeError as error:
        problem = str(error)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=VERIFIED,
        passed=not problem,
        metadata={"numbers": numbers, "problem": problem or "none"},
    )
