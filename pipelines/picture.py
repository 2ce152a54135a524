"""The asset graph as a picture: ``python -m pipelines.picture docs/graph.svg``."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import dagster as dg

from assets.names import CORPUS, GENERATION, SOURCES, TOKENS, TRAINING, TRAINING_METRICS

EPOCHS_SHOWN = 3
BOX_WIDTH, BOX_HEIGHT = 176, 30
COLUMN_WIDTH, ROW_HEIGHT = 220, 46
MARGIN, HEAD = 20, 44
COLOURS = {
    SOURCES: "#d9e8f6",
    CORPUS: "#dcefdc",
    TOKENS: "#fbeecb",
    TRAINING: "#f6dcd6",
    GENERATION: "#e8dff3",
}

Place = tuple[float, float]


def draw(definitions: dg.Definitions) -> str:
    """The graph as SVG: a column for each distance from the sources, an arrow for each input."""
    graph = definitions.resolve_asset_graph()
    keys = sorted(graph.get_all_asset_keys() - {TRAINING_METRICS})
    parents = {key: sorted(graph.get(key).parent_keys) for key in keys}
    places = _places(parents)
    width = max(x for x, _ in places.values()) + BOX_WIDTH + MARGIN
    height = max(y for _, y in places.values()) + BOX_HEIGHT + MARGIN
    arrows = [_arrow(places[p], places[k]) for k in keys for p in _direct(k, parents)]
    boxes = [_box(k, places[k], COLOURS[graph.get(k).group_name]) for k in keys]
    legend = [
        f'<rect x="{MARGIN + i * 130}" y="12" width="14" height="14" fill="{colour}" '
        f'stroke="#555"/><text x="{MARGIN + 20 + i * 130}" y="24">{escape(group)}</text>'
        for i, (group, colour) in enumerate(COLOURS.items())
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'font-family="sans-serif" font-size="13">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#777"/></marker>'
            "</defs>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *legend,
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _direct(
    key: dg.AssetKey, parents: Mapping[dg.AssetKey, Sequence[dg.AssetKey]]
) -> list[dg.AssetKey]:
    """The inputs that no other input already rests on: the other arrows only cross the picture."""
    own = set(parents[key])
    below: set[dg.AssetKey] = set()
    for parent in own:
        below |= _ancestors(parent, parents)
    return sorted(own - below)


def _ancestors(
    key: dg.AssetKey, parents: Mapping[dg.AssetKey, Sequence[dg.AssetKey]]
) -> set[dg.AssetKey]:
    found: set[dg.AssetKey] = set()
    waiting = list(parents[key])
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting.extend(parents[parent])
    return found


def _places(parents: Mapping[dg.AssetKey, Sequence[dg.AssetKey]]) -> dict[dg.AssetKey, Place]:
    depth: dict[dg.AssetKey, int] = {}

    def depth_of(key: dg.AssetKey) -> int:
        if key not in depth:
            depth[key] = 1 + max((depth_of(p) for p in parents[key]), default=-1)
        return depth[key]

    columns: dict[int, list[dg.AssetKey]] = defaultdict(list)
    for key in parents:
        columns[depth_of(key)].append(key)
    tallest = max(len(column) for column in columns.values())
    return {
        key: (
            MARGIN + number * COLUMN_WIDTH,
            HEAD + MARGIN + (row + (tallest - len(column)) / 2) * ROW_HEIGHT,
        )
        for number, column in columns.items()
        for row, key in enumerate(column)
    }


def _arrow(start: Place, end: Place) -> str:
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT / 2
    x2, y2 = end[0], end[1] + BOX_HEIGHT / 2
    bend = (x2 - x1) / 2
    return (
        f'<path d="M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}" '
        'fill="none" stroke="#999" marker-end="url(#tip)"/>'
    )


def _box(key: dg.AssetKey, place: Place, colour: str) -> str:
    x, y = place
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="{colour}" stroke="#555"/>'
        f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + 20:g}" text-anchor="middle">'
        f"{escape(key.to_user_string())}</text>"
    )


def main() -> None:
    """Write the picture of a training of three epochs."""
    from perigee.settings import Settings, TrainingSettings
    from pipelines.definitions import build_definitions

    settings = Settings(training=TrainingSettings(epochs=EPOCHS_SHOWN))
    Path(sys.argv[1]).write_text(draw(build_definitions(settings)), encoding="utf-8")


if __name__ == "__main__":
    main()
