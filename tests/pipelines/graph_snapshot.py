"""The graph as JSON. To accept a change: `python tests/pipelines/graph_snapshot.py`, and look."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("graph.json")
EPOCHS = 2


def graph() -> dict[str, Any]:
    """Every asset with its group, kinds, inputs and checks; every job with what it runs."""
    from perigee.settings import Settings, TrainingSettings
    from pipelines.definitions import build_definitions

    settings = Settings(training=TrainingSettings(epochs=EPOCHS))
    definitions = build_definitions(settings)
    nodes = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    assets = {}
    for node in nodes.asset_nodes:
        checks = sorted(nodes.get_check_keys_for_assets([node.key]), key=lambda c: c.name)
        assets[node.key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            "made from": sorted(parent.to_user_string() for parent in node.parent_keys),
            "checks": {c.name: "blocking" if nodes.get(c).blocking else "" for c in checks},
        }
    jobs = {
        job.name: sorted(k.to_user_string() for k in job.asset_layer.selected_asset_keys)
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    return {
        "assets": dict(sorted(assets.items())),
        "jobs": dict(sorted(jobs.items())),
        "schedules": {s.name: s.cron_schedule for s in repository.schedule_defs},
        "sensors": sorted(s.name for s in repository.sensor_defs),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    SNAPSHOT.write_text(json.dumps(graph(), indent=1) + "\n", encoding="utf-8")
