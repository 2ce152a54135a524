"""Deliberate errors in the formulas, one at a time: the tests have to turn red at each of them.

    python benchmarks/mutations.py               all, some seconds each
    python benchmarks/mutations.py --only bound  those whose name begins so

The library and its tests are copied aside, an error is put in, the tests that belong to the formula
run until the first failure, and the error is taken out again. What stays green is a hole: the
exit status is 1 then. An error whose place is gone (the code was changed) is refused, not skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("perigee", "tests", "pyproject.toml")
DIFFUSION = "perigee/diffusion"


@dataclass(frozen=True)
class Mutation:
    """A piece of source, what stands there instead, and the tests that should notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


def mutation(name: str, file: str, right: str, wrong: str, *tests: str) -> Mutation:
    return Mutation(name, file, right, wrong, tuple(f"tests/{test}.py" for test in tests))


SCHEDULE, WEIGHTS, TIMES = (f"{DIFFUSION}/{n}.py" for n in ("schedule", "weights", "times"))
BOUND, FORWARD, TERMS = (f"{DIFFUSION}/{n}.py" for n in ("bound", "forward", "terms"))
MARGINALS, HEAD, CODE = (f"{DIFFUSION}/{n}.py" for n in ("marginals", "crossentropy", "code"))
POSTERIOR, OBJECTIVE = (f"{DIFFUSION}/{n}.py" for n in ("posterior", "objective"))
SPELLING = f"{DIFFUSION}/spelling.py"
OF_BOUND = ("diffusion/test_bound", "diffusion/test_bound_parts")
OF_TRAINING = ("diffusion/test_objective", "diffusion/test_schedule", "diffusion/test_times")

MUTATIONS = (
    mutation(
        "schedule: sign of the cosine's derivative", SCHEDULE,
        "return -0.5 * math.pi * torch.sin", "return 0.5 * math.pi * torch.sin",
        "diffusion/test_schedule",
    ),
    mutation(
        "schedule: factor of the cosine's derivative", SCHEDULE,
        "return -0.5 * math.pi * torch.sin", "return -math.pi * torch.sin",
        "diffusion/test_schedule",
    ),
    mutation(
        "schedule: half angle of the masked share", SCHEDULE,
        "torch.sin(0.25 * math.pi", "torch.sin(0.5 * math.pi", "diffusion/test_schedule",
    ),
    mutation(
        "weights: bound divided by alpha", WEIGHTS,
        "return -schedule.derivative(times) / schedule.masked_share(times)",
        "return -schedule.derivative(times) / schedule.alpha(times)", *OF_TRAINING,
    ),
    mutation(
        "weights: sign of the bound's", WEIGHTS,
        "return -schedule.derivative(times) / schedule.masked_share(times)",
        "return schedule.derivative(times) / schedule.masked_share(times)", *OF_TRAINING,
    ),
    mutation(
        "weights: min-SNR without the one", WEIGHTS,
        "(ratio.clamp(max=SNR_LIMIT) + 1.0)", "ratio.clamp(max=SNR_LIMIT)", *OF_TRAINING,
    ),
    mutation(
        "weights: density multiplied", WEIGHTS,
        "bound_weight(schedule, times) / density(times, mask_fraction)",
        "bound_weight(schedule, times) * density(times, mask_fraction)", *OF_TRAINING,
    ),
    mutation(
        "weights: flat without its scale", WEIGHTS,
        "1.0 / mean_masked_share(schedule, mask_fraction)", "1.0", *OF_TRAINING,
    ),
    mutation(
        "times: exponent of the warp", TIMES,
        "uniforms ** ((1.0 - mask_fraction) / mask_fraction)",
        "uniforms ** (mask_fraction / (1.0 - mask_fraction))", *OF_TRAINING,
    ),
    mutation(
        "times: exponent of the density", TIMES,
        "times ** (1.0 / power - 1.0) / power", "times ** (1.0 / power) / power", *OF_TRAINING,
    ),
    mutation(
        "times: strata not divided", TIMES,
        "1.0 - (stratum + numbers.random()) / strata", "1.0 - numbers.random() / strata",
        "diffusion/test_times", *OF_BOUND,
    ),
    mutation(
        "times: parts of a word share a number", TIMES,
        "tensor[:, 2:].transpose(1, 2)", "tensor[:, 2:3].expand(-1, parts, -1).transpose(1, 2)",
        "diffusion/test_times", "diffusion/test_forward", *OF_BOUND,
    ),
    mutation(
        "forward: visible words masked", FORWARD,
        "is_whole = units.words < threshold[:, None]",
        "is_whole = units.words >= threshold[:, None]", "diffusion/test_forward", *OF_BOUND,
    ),
    mutation(
        "forward: the coin the other way", FORWARD,
        "is_split = draws.coins < unmask_fraction", "is_split = draws.coins >= unmask_fraction",
        "diffusion/test_forward", *OF_BOUND,
    ),
    mutation(
        "forward: one unit too many", FORWARD,
        ".gather(1, counts[:, None])",
        ".gather(1, (counts[:, None] + 1).clamp(max=numbers.shape[1]))",
        "diffusion/test_forward", *OF_BOUND,
    ),
    mutation(
        "forward: hidden parts are shown", FORWARD,
        "masked_fill(is_hidden | ~is_partial.unsqueeze(-1), HIDDEN)",
        "masked_fill(~is_hidden | ~is_partial.unsqueeze(-1), HIDDEN)",
        "diffusion/test_forward", *OF_BOUND,
    ),
    mutation(
        "bound: weight 1/n instead of N/n", BOUND,
        "weights = total / masked.clamp(min=1)", "weights = 1.0 / masked.clamp(min=1)", *OF_BOUND,
    ),
    mutation(
        "bound: weight of the next count", BOUND,
        "weights = total / masked.clamp(min=1)", "weights = total / (masked + 1)", *OF_BOUND,
    ),
    mutation(
        "bound: counts rounded down", BOUND,
        "torch.ceil(draws.times * total)", "torch.floor(draws.times * total)", *OF_BOUND,
    ),
    mutation(
        "bound: times not averaged", BOUND,
        "estimates / times_per_window)", "estimates)", *OF_BOUND,
    ),
    mutation(
        "bound: words of a label from all words", BOUND,
        "words = (is_word & is_member).sum(axis=1)[chosen]",
        "words = is_word.sum(axis=1)[chosen]", "diffusion/test_bound",
    ),
    mutation(
        "bound: a window's nats for each of its labels", BOUND,
        "ratio_estimate((nats * is_member).sum(axis=1)[chosen], words)",
        "ratio_estimate(nats.sum(axis=1)[chosen], words)", "diffusion/test_bound",
    ),
    mutation(
        "bound: labels of padding count", BOUND,
        "counted = is_word if by_word else", "counted = is_word | True if by_word else",
        "diffusion/test_bound",
    ),
    mutation(
        "bound: standard error without n / (n - 1)", BOUND,
        "np.sum(spread**2) * windows / (windows - 1)", "np.sum(spread**2)", "diffusion/test_bound",
    ),
    mutation(
        "bound: standard error of the plain mean", BOUND,
        "spread = nats - mean * words", "spread = nats - nats.mean()", "diffusion/test_bound",
    ),
    mutation(
        "terms: losses at the wrong words", TERMS,
        "losses_at[places_there] = losses.double()",
        "losses_at[places_there.flip(0)] = losses.double()", *OF_BOUND,
    ),
    mutation(
        "terms: weights of other rows", TERMS,
        "weights[places // token_ids.shape[1]]", "weights[places % len(weights)]",
        "diffusion/test_objective", "diffusion/test_marginals", "diffusion/test_crossentropy",
    ),
    mutation(
        "marginals: the norm counted once, nothing seen", MARGINALS,
        "losses = len(self.code) * softmax_(logits)", "losses = softmax_(logits)",
        "diffusion/test_marginals", "diffusion/test_bound_parts",
    ),
    mutation(
        "marginals: the norm counted once, some seen", MARGINALS,
        "losses = len(hidden) * softmax_(slope)", "losses = softmax_(slope)",
        "diffusion/test_marginals", "diffusion/test_bound_parts",
    ),
    mutation(
        "marginals: the joint probability", MARGINALS,
        "shares = logits.masked_fill(~agrees, -torch.inf)",
        "agrees = (lines.parts[:, :, None] == classes.parts[chosen, None]).all(-1)\n"
        "        shares = logits.masked_fill(~agrees, -torch.inf)",
        "diffusion/test_marginals", "diffusion/test_bound_parts",
    ),
    mutation(
        "marginals: every hidden part is the first", MARGINALS,
        "agrees = lines.parts[..., part, None] == classes.parts[chosen, None, :, part]",
        "agrees = lines.parts[..., hidden[0], None] == classes.parts[chosen, None, :, hidden[0]]",
        "diffusion/test_marginals", "diffusion/test_bound_parts",
    ),
    mutation(
        "marginals: gradient of the norm counted once", MARGINALS,
        "slope.mul_(len(hidden))", "slope.mul_(1)", "diffusion/test_marginals",
    ),
    mutation(
        "marginals: sign of the parts' gradient", MARGINALS,
        "shares.mul_(-weight)", "shares.mul_(weight)", "diffusion/test_marginals",
    ),
    mutation(
        "head: probability for [PAD] and [MASK]", f"{DIFFUSION}/absorbing.py",
        "logits[..., :FIRST_WORD] = -torch.inf", "logits[..., :0] = -torch.inf",
        "diffusion/test_crossentropy", *OF_BOUND,
    ),
    mutation(
        "head: gradient without the target's minus one", HEAD,
        ".scatter_add_(1, goal, -weight)", "", "diffusion/test_crossentropy",
    ),
    mutation(
        "head: unweighted gradient", HEAD,
        "slope = logits.mul_(weight).scatter_add_(1, goal, -weight)",
        "slope = logits.scatter_add_(1, goal, -torch.ones_like(weight))",
        "diffusion/test_crossentropy",
    ),
    mutation(
        "code: digits divided after the modulus", CODE,
        "token_ids.long().unsqueeze(-1) // divisors % moduli",
        "token_ids.long().unsqueeze(-1) % moduli // divisors", "diffusion/test_code",
    ),
    mutation(
        "posterior: ratio upside down", POSTERIOR,
        "schedule.masked_share(earlier) / schedule.masked_share(later)",
        "schedule.masked_share(later) / schedule.masked_share(earlier)", "diffusion/test_posterior",
    ),
    mutation(
        "posterior: stays what should go", POSTERIOR,
        "step = (1.0 - stay) * probabilities", "step = stay * probabilities",
        "diffusion/test_posterior",
    ),
    mutation(
        "objective: divided by masked words", OBJECTIVE,
        "loss=terms.total / max(own_words if words is None else words, 1)",
        "loss=terms.total / max(int(corruption.is_masked.sum()), 1)", "diffusion/test_objective",
    ),
    mutation(
        "spelling: no share for the shorter context", SPELLING,
        "probability = (count + len(seen) * probability) / (total + len(seen))",
        "probability = (count + probability) / (total + len(seen))", "diffusion/test_spelling",
    ),
    mutation(
        "spelling: a word's end is free", SPELLING,
        "for character in word + END:", "for character in word:", "diffusion/test_spelling",
    ),
    mutation(
        "spelling: per closed-vocabulary word", SPELLING,
        "(bound.nats_per_word * bound.words + spelled) / whitespace_words",
        "(bound.nats_per_word * bound.words + spelled) / bound.words", "diffusion/test_spelling",
    ),
    mutation(
        "windows: a document's [BOS] counts with the one before", "perigee/tokenizer/windows.py",
        "begins.cumsum(axis=1)", "(begins.cumsum(axis=1) - begins)", "tokenizer/test_unknown",
    ),
    mutation(
        "windows: a first [BOS] counts twice", "perigee/tokenizer/windows.py",
        "begins[:, 0] = 0", "begins[:, 0] += 0", "tokenizer/test_unknown",
    ),
    mutation(
        "unknown: every word begins one between white space", "perigee/tokenizer/unknown.py",
        "begun += np.bincount(label[is_first[inside]], minlength=marks)",
        "begun += np.bincount(label, minlength=marks)", "tokenizer/test_unknown",
    ),
    mutation(
        "unigram: [PAD] and [MASK] smoothed too", "perigee/training/unigram.py",
        "smoothed[:FIRST_WORD] = 0.0", "smoothed[:0] = 0.0", "training/test_evaluation",
    ),
    mutation(
        "likelihood: the error without n / (n - 1)", "perigee/generation/likelihood.py",
        "* count / max(1, count - 1)", "", "generation/test_likelihood",
    ),
    mutation(
        "likelihood: words chosen by what is written there", "perigee/generation/likelihood.py",
        "np.where(is_fixed, texts, MASK)", "texts.copy()", "generation/test_likelihood",
    ),
    mutation(
        "statistics: runs reach one word less", "perigee/generation/statistics.py",
        "range(len(text) - n + 1)", "range(len(text) - n)", "generation/test_statistics",
    ),
)  # fmt: skip


def is_noticed(place: Path, one: Mutation) -> bool:
    """Whether the tests turn red with the error in."""
    file = place / one.file
    source = file.read_text(encoding="utf-8")
    if one.right not in source:
        raise SystemExit(f"{one.name}: {one.file} holds no {one.right!r} any more")
    file.write_text(source.replace(one.right, one.wrong), encoding="utf-8")
    try:
        return run_tests(place, one.tests) != 0
    finally:
        file.write_text(source, encoding="utf-8")


def run_tests(place: Path, tests: Sequence[str]) -> int:
    command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = run_python(place, command)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the tests did not run:\n{done.stdout.decode()[-2000:]}")
    return done.returncode


def run_python(place: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Python with the library that lies in ``place``, before the one that is installed."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env={**environ, "PYTHONPATH": str(place)},
        capture_output=True,
        check=False,
    )


def require_copy(place: Path) -> None:
    """Stop if the tests would see another library than the one in ``place``."""
    found = run_python(place, ["-c", "import perigee; print(perigee.__file__)"]).stdout.decode()
    if not found.startswith(str(place)):
        raise SystemExit(f"the tests would see {found.strip()}, and no error that is put in")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="names that begin so")
    options = parser.parse_args()
    chosen = [one for one in MUTATIONS if one.name.startswith(options.only)]
    unnoticed = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, place / name)
        require_copy(place)
        every = sorted({test for one in chosen for test in one.tests})
        if run_tests(place, every) != 0:
            raise SystemExit("the tests are red without any error put in")
        for one in chosen:
            begin = time.perf_counter()
            red = is_noticed(place, one)
            print(f"{'red' if red else 'GREEN':6}{time.perf_counter() - begin:5.0f} s  {one.name}")
            sys.stdout.flush()
            if not red:
                unnoticed.append(one.name)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} turned a test red")
    if unnoticed:
        raise SystemExit("not noticed: " + "; ".join(unnoticed))


if __name__ == "__main__":
    main()
