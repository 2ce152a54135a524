"""How long a thread of torch's waits for another before it sleeps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

PATIENT_TURNS = "4000"
"""Beside a busy process a training step takes half the time it takes with OpenMP's 300,000 turns,
alone as long."""


def wait_patiently(environ: MutableMapping[str, str]) -> None:
    """Set the turns in ``environ``, unless it says otherwise; read when torch is loaded."""
    environ.setdefault("GOMP_SPINCOUNT", PATIENT_TURNS)
