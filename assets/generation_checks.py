"""Whether a training was worth it: the bound against the unigram's, and texts that are texts."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import dagster as dg

from assets.findings import Finding
from assets.names import EVALUATION, SAMPLES
from assets.settings_file import SettingsFile
from assets.watching import watched
from perigee.files import read_json

UNIGRAM = "bound_below_unigram"
DEGENERATE = "not_degenerate"
LEAST_DISTINCT = 0.5
"""Share of different pairs of neighbours; prose of some hundred words has 0.9 and more."""
MOST_IN_A_ROW = 3
MOST_UNKNOWN = 0.2
NEVER_GENERATED = ("[PAD]", "[MASK]", "[BOS]")


def bound_below_unigram(evaluation: Mapping[str, Any]) -> Finding:
    """The bound is below what the frequencies of the words alone would give."""
    bound = evaluation["bound"]["nats_per_word"]
    unigram = evaluation["unigram"]["nats_per_word"]
    shown = {"bound (nats a word)": bound, "unigram (nats a word)": unigram}
    problem = "" if bound < unigram else f"the bound is {bound:.3f}, the unigram's {unigram:.3f}"
    return Finding(problem, shown)


def not_degenerate(texts: Sequence[str]) -> Finding:
    """No special tokens, no word over and over, few pairs of neighbours twice."""
    words = [text.split() for text in texts]
    pairs = Counter(pair for text in words for pair in pairwise(text))
    count = max(sum(map(len, words)), 1)
    distinct = len(pairs) / max(pairs.total(), 1)
    longest = max((len(list(run)) for text in words for _, run in groupby(text)), default=0)
    special = sorted({word for text in words for word in text if word in NEVER_GENERATED})
    unknown = sum(text.count("[UNK]") for text in words) / count
    problems = [
        "there is no word" if not pairs else "",
        f"{' '.join(special)} was generated" if special else "",
        f"{unknown:.0%} of the words are [UNK]" if unknown > MOST_UNKNOWN else "",
        f"a word stands {longest} times in a row" if longest > MOST_IN_A_ROW else "",
        f"only {distinct:.0%} of the pairs differ" if pairs and distinct < LEAST_DISTINCT else "",
    ]
    shown = {"distinct-2": distinct, "longest repetition": longest, "unknown share": unknown}
    return Finding("; ".join(filter(None, problems)), shown, warn=True)


@dg.multi_asset_check(
    name="generation_checks",
    specs=[
        dg.AssetCheckSpec(UNIGRAM, asset=EVALUATION, description=bound_below_unigram.__doc__),
        dg.AssetCheckSpec(DEGENERATE, asset=SAMPLES, description=not_degenerate.__doc__),
    ],
    can_subset=True,
)
def generation_checks(
    context: dg.AssetCheckExecutionContext, settings_file: SettingsFile
) -> Iterator[dg.AssetCheckResult]:
    """Look at the figures and at the texts."""
    with watched(context):
        settings = settings_file.read()
        for key in sorted(context.selected_asset_check_keys):
            if key.name == UNIGRAM:
                found = bound_below_unigram(read_json(settings.evaluation_path()))
            else:
                samples = read_json(settings.samples_path() / "samples.json")["samples"]
                found = not_degenerate([sample["text"] for sample in samples])
            yield found.result(key, context)
