"""What a check found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg


@dataclass(frozen=True)
class Finding:
    """The outcome of looking at an artifact."""

    problem: str = ""
    """What is wrong, in one line; empty if nothing is."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The figures that were looked at."""
    warn: bool = False
    """Whether the problem leaves the artifact usable."""

    def result(
        self,
        key: dg.AssetCheckKey,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    ) -> dg.AssetCheckResult:
        """The same for Dagster, and a line in the log if something is wrong."""
        if self.problem:
            name = f"{key.asset_key.to_user_string()}: check {key.name}"
            context.log.warning(f"{name}: {self.problem}")
        severity = dg.AssetCheckSeverity.WARN if self.warn else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not self.problem,
            severity=severity,
            description=self.problem or None,
            metadata=self.metadata,
        )
