"""Is `genrec ab` honest? Experiments whose truth is known, read by the project's own statistics.

    python benchmarks/ab.py                                  every part, under a minute
    python benchmarks/ab.py --parts looks,srm --experiments 200
    python benchmarks/ab.py --parts off_policy --raw_dir raw      on MovieLens-100K

looks          equal arms, looked at after every 1% of the users: how often a difference is found that is not there
power          the planned number of users: how often the difference is found that is there
interleaving   a pair of rankings by an A/B test and by interleaving: who is right, and with how many users
off_policy     another policy's clicks from a log of drawn lists: is the truth within the interval as often as it says?
srm            arms that lose users: how often the sample ratio test says so

Prints markdown tables. Users differ in how much they click (Gamma), clicks are Poisson, rates are Bernoulli.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pydantic import field_validator
from scipy import stats

from genrec.commandline import options_program, parse
from genrec.config import Section, comma_list, knob
from genrec.experiments.statistics.always_valid import LEAST, TAU, always_valid_p
from genrec.experiments.statistics.interleaving import draft_teams, measure_preference
from genrec.experiments.statistics.off_policy import LoggedAnswers, OffPolicy, evaluate_policy
from genrec.experiments.statistics.power import (
    rate_effect,
    sample_size,
    sample_size_always_valid,
)
from genrec.experiments.statistics.sample_ratio import ALPHA, check_sample_ratio
from genrec.experiments.statistics.slate_sampling import sample_slates

LOOKS = 100
LEVEL = 0.05


class BenchmarkOptions(Section):
    """What is simulated, and how often."""

    parts: list[str] = knob(["looks", "power", "interleaving", "off_policy", "srm"], "which of them")
    experiments: int = knob(1000, "simulated experiments a row of a table", ge=10)
    users: int = knob(20_000, "of an experiment with equal arms, both arms together", ge=1000)
    raw_dir: Path | None = knob(None, "folder with ml-100k/: off_policy on its users' tastes, not on drawn ones")
    seed: int = knob(0, "of all draws", ge=0)

    split_parts = field_validator("parts", mode="before")(comma_list)


def main() -> None:
    options = parse(options_program("python benchmarks/ab.py", __doc__, BenchmarkOptions)).config
    for place, part in enumerate(options.parts):
        if place:
            print()
        PARTS[part](options, np.random.default_rng([options.seed, place]))


def print_table(head: str, rows: list[list[str]]) -> None:
    print(f"| {head} |\n|" + "---|" * (head.count("|") + 1))
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def share(found: np.ndarray | list) -> str:
    """A share of experiments with its 95% interval (Clopper-Pearson)."""
    found = np.asarray(found, dtype=bool)
    low, high = stats.binomtest(int(found.sum()), len(found)).proportion_ci()
    return f"{found.mean():.1%} [{low:.1%}, {high:.1%}]"


# Looks


def draw_looks(random: np.random.Generator, metric: str, options: BenchmarkOptions) -> tuple[np.ndarray, np.ndarray]:
    """(experiments, looks) differences of two equal arms and their variances, as they are after each look."""
    step = options.users // (2 * LOOKS)
    shape = (options.experiments, 2, LOOKS)
    sums, squares = np.zeros(shape), np.zeros(shape)
    for _ in range(step):  # a user of each arm and look at a time, so that memory does not grow with the users
        value = METRICS[metric](random, shape)
        sums += value
        squares += value**2
    users = step * np.arange(1, LOOKS + 1)
    sums, squares = sums.cumsum(-1), squares.cumsum(-1)
    variance = (squares - sums**2 / users) / (users - 1)
    means = sums / users
    return means[:, 1] - means[:, 0], (variance / users).sum(1)


METRICS: dict[str, Callable[..., np.ndarray]] = {
    "rate of 5%": lambda random, shape: (random.random(shape, dtype=np.float32) < 0.05).astype(float),
    "clicks a user": lambda random, shape: random.poisson(random.standard_gamma(0.5, shape)).astype(float),
}


def measure_looks(options: BenchmarkOptions, random: np.random.Generator) -> None:
    rows = []
    first = max(1, -(-LEAST * 2 * LOOKS // options.users))  # the look from which on an arm has LEAST users
    for metric in METRICS:
        value, error = draw_looks(random, metric, options)
        value, error = value[:, first - 1 :], np.maximum(error[:, first - 1 :], 1e-12)
        tau = TAU * np.sqrt(error[:, -1:] * (options.users // 2) / 2)
        always = always_valid_p(value, error, float(tau.mean())) < LEVEL
        plain = 2 * stats.norm.sf(np.abs(value) / np.sqrt(error)) < LEVEL
        rows.append([metric, share(plain[:, -1]), share(plain.any(1)), share(always.any(1)), str(value.shape[1])])
    print_table(
        "equal arms | p < .05 at the end | p < .05 at any look | always-valid p < .05 at any look | looks", rows
    )


# Power


def measure_power(options: BenchmarkOptions, random: np.random.Generator) -> None:
    rows = []
    for baseline, lift in ((0.05, 0.01), (0.2, 0.02), (0.2, -0.02)):
        effect = rate_effect(baseline, lift)
        once, often = sample_size(effect, 0.8), sample_size_always_valid(effect, 0.8)
        plain, _ = find_rates(random, options.experiments, baseline, lift, once, looks=1)
        always, stopped = find_rates(random, options.experiments, baseline, lift, often, looks=LOOKS)
        rows.append([f"{baseline:g} -> {baseline + lift:g}", f"{once:,}", share(plain), f"{often:,}", share(always),
                     f"{np.median(stopped):,.0f}"])  # fmt: skip
    head = "rate | users, one look | found | users, any look | found | users when it was found (median)"
    print_table(head, rows)


def find_rates(
    random: np.random.Generator, experiments: int, baseline: float, lift: float, users: int, looks: int
) -> tuple[np.ndarray, np.ndarray]:
    """(experiments,) whether the difference was found; users at the look that found it, of those that did."""
    step = users // (2 * looks)
    rates = np.array([baseline, baseline + lift])[None, :, None]
    counts = random.binomial(step, rates, (experiments, 2, looks)).cumsum(-1)
    arm = step * np.arange(1, looks + 1)
    means = counts / arm
    value = means[:, 1] - means[:, 0]
    error = np.maximum((means * (1 - means) / np.maximum(arm - 1, 1)).sum(1), 1e-12)
    if looks == 1:
        found = 2 * stats.norm.sf(np.abs(value) / np.sqrt(error)) < LEVEL
    else:
        tau = TAU * np.sqrt(baseline * (1 - baseline))
        found = (always_valid_p(value, error, tau) < LEVEL) & (arm >= LEAST)
    stopped = 2 * arm[found.argmax(1)][found.any(1)]
    return found.any(1), stopped


# Interleaving

ITEMS, LENGTH, REQUESTS = 60, 10, 3
DETECT = (stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(0.8)) ** 2  # users for 80% power at a squared effect of 1


def measure_interleaving(options: BenchmarkOptions, random: np.random.Generator) -> None:
    """Pairs of rankers that see tastes through noise; the second of each pair sees them through less."""
    pairs, users = max(4, options.experiments // 50), 300
    found = [compare_rankers(random, users, noise) for noise in np.linspace(0.4, 0.8, pairs)]
    small, large, teams, test_users, team_users = (np.array(column) for column in zip(*found, strict=True))
    rows = [
        ["A/B test", f"{2 * users:,}", share(small), f"{np.median(test_users):,.0f}"],
        ["A/B test", f"{20 * users:,}", share(large), ""],
        ["interleaving", f"{users:,}", share(teams), f"{np.median(team_users):,.0f}"],
    ]
    print_table("method | users | names the better ranking | users for 80% power (median)", rows)
    print(
        f"\n{pairs} pairs of rankings; interleaving with {users:,} users and an A/B test with {20 * users:,} name the\n"
        f"same one in {share(teams == large)}; interleaving needs 1/{np.median(test_users / team_users):.0f} of the "
        "users"
    )


def compare_rankers(random: np.random.Generator, users: int, noise: float) -> tuple[bool, bool, bool, float, float]:
    """Is the better ranking named, by a small and a ten times larger A/B test and by interleaving?

    And the users, of both arms together, that an A/B test and interleaving need for 80% power.
    """
    many = 10 * users
    clicks, expected = ab_clicks(random, 2 * many, (noise, 0.3))
    credit = np.stack([team_clicks(random, (noise, 0.3)) for _ in range(2 * users)])  # (2 users, 2)
    gap = np.sign(credit[:, 1] - credit[:, 0])
    verdict = measure_preference(credit[:users, 0], credit[:users, 1])
    change = expected[:, 1].mean() - expected[:, 0].mean()  # of the same users under both: nearly without noise
    small, large = (clicks[:size, 1].mean() > clicks[many : many + size, 0].mean() for size in (users, many))
    test_users = 2 * DETECT * clicks.var(axis=0).sum() / change**2
    return bool(small), bool(large), verdict.second > verdict.first, test_users, DETECT * gap.var() / gap.mean() ** 2


def draw_ranking(taste: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """(..., ITEMS) tastes -> (..., LENGTH) items that a ranker would show."""
    return np.argsort(-(taste + noise * random.standard_normal(taste.shape)), axis=-1)[..., :LENGTH]


def click_rates(taste: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Chance of a click on each shown item: seen with 1 / log2(place + 2), then by taste."""
    seen = 1 / np.log2(np.arange(shown.shape[-1]) + 2)
    return seen * 0.5 / (1 + np.exp(2.5 - 2 * np.take_along_axis(taste, shown, axis=-1)))


def draw_tastes(random: np.random.Generator, users: int) -> tuple[np.ndarray, np.ndarray]:
    """(users, 1, ITEMS) tastes, and (users, 1, 1) how much a user clicks at all."""
    return random.standard_normal((users, 1, ITEMS)), np.minimum(random.gamma(2, 0.5, (users, 1, 1)), 2)


def ab_clicks(random: np.random.Generator, users: int, noises: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(users, 2) clicks over REQUESTS lists of each ranker, and their expectation."""
    taste, eager = draw_tastes(random, users)
    taste = np.repeat(taste, REQUESTS, axis=1)
    rates = [eager * click_rates(taste, draw_ranking(taste, noise, random)) for noise in noises]
    clicks = [(random.random(each.shape) < each).sum((1, 2)).astype(float) for each in rates]
    return np.stack(clicks, axis=1), np.stack([each.sum((1, 2)) for each in rates], axis=1)


def team_clicks(random: np.random.Generator, noises: tuple[float, float]) -> np.ndarray:
    """(2,) clicks of one user on what each ranker brought, over REQUESTS interleaved lists."""
    taste, eager = draw_tastes(random, 1)
    credit = np.zeros(2)
    for _ in range(REQUESTS):
        first, second = (draw_ranking(taste[0, 0], noise, random).tolist() for noise in noises)
        draft = draft_teams(first, second, LENGTH, random)
        shown = np.array(draft.items)
        clicked = random.random(len(shown)) < eager[0, 0] * click_rates(taste[0, 0], shown)
        credit += np.bincount(np.array(draft.teams)[clicked], minlength=2)
    return credit


# Other policies


class World(NamedTuple):
    """(kinds of users, items) each."""

    rates: np.ndarray  # chance of a click
    logging: np.ndarray  # scores of the ranker that ran
    targets: dict[str, np.ndarray]  # scores of others


def measure_off_policy(options: BenchmarkOptions, random: np.random.Generator) -> None:
    """Lists of 3 are drawn, the reward is a click on the first item."""
    answers, rows = 4000, []
    world = draw_world(random) if options.raw_dir is None else movielens_world(options.raw_dir)
    for name, target in world.targets.items():
        policy = np.exp(target) / np.exp(target).sum(1, keepdims=True)
        truth = float((policy * world.rates).sum(1).mean())
        times = max(10, options.experiments // 4)
        runs = [replay(random, answers, world.rates, world.logging, policy) for _ in range(times)]
        rows += [[name, f"{truth:.4f}", *judge_estimator(runs, kind, truth)] for kind in ("IPS", "SNIPS", "DR")]
    head = f"policy | truth | estimate | bias, 95% | width | truth within 95% | worth of {answers:,}"
    print_table(head, rows)


def draw_world(random: np.random.Generator) -> World:
    """Users of 20 kinds, 30 items."""
    rates = 0.4 / (1 + np.exp(1.5 - random.standard_normal((20, 30))))
    logging = random.standard_normal(rates.shape)
    near = logging + 0.3 * random.standard_normal(rates.shape)
    return World(rates, logging, {"a little other": near, "better": logging + 4 * rates})


def movielens_world(raw_dir: Path) -> World:
    """MovieLens-100K's users and the 100 films that most rated: a click where a low-rank fit says four stars or more.

    The log is of a ranker by popularity, the other policies lean to each user's own taste.
    """
    from genrec.config import Data
    from genrec.data.movielens import read_shop

    events = read_shop(Data(source="movielens", dataset="ml-100k", raw_dir=raw_dir)).events
    count = np.bincount(events.item)
    films = np.argsort(-count, kind="stable")[:100]
    place = np.full(len(count), -1)
    place[films] = np.arange(len(films))
    kept = place[events.item] >= 0
    liked = np.zeros((int(events.user.max()) + 1, len(films)))  # (users, films): over or under four stars
    liked[events.user[kept], place[events.item[kept]]] = events.rating[kept] - 3.5
    left, spread, right = np.linalg.svd(liked, full_matrices=False)
    taste = (left[:, :8] * spread[:8]) @ right[:8]
    rates = 0.4 / (1 + np.exp(2 - taste))
    logging = np.tile(np.log(count[films]) * 2, (len(taste), 1))
    return World(rates, logging, {"a little taste": logging + 0.5 * taste, "taste": logging + taste})


def judge_estimator(runs: list[OffPolicy], name: str, truth: float) -> list[str]:
    """Cells: the estimator, its bias, mean width, how often the truth is within, and the effective answers."""
    found = [run.estimates[name] for run in runs]
    errors = np.array([each.value - truth for each in found])
    covered = [each.low <= truth <= each.high for each in found]
    width = np.mean([each.high - each.low for each in found])
    bias = f"{errors.mean():+.5f} +- {1.96 * errors.std(ddof=1) / np.sqrt(len(errors)):.5f}"
    return [name, bias, f"{width:.4f}", share(covered), f"{np.mean([run.overlap.effective for run in runs]):,.0f}"]


def replay(
    random: np.random.Generator, answers: int, rates: np.ndarray, logging: np.ndarray, policy: np.ndarray
) -> OffPolicy:
    """One log, and what it says of `policy`; the reward model knows rates up to noise."""
    kind = random.integers(len(rates), size=answers)
    drawn = sample_slates(logging[kind], 3, random)
    first = drawn.items[:, 0]
    reward = (random.random(answers) < rates[kind, first]).astype(float)
    guess = rates * np.exp(0.2 * random.standard_normal(rates.shape))
    user = np.arange(answers)
    target, logged = policy[kind, first], drawn.propensities[:, 0]
    return evaluate_policy(
        LoggedAnswers(user, reward, logged, target, guess[kind, first], (policy * guess).sum(1)[kind]), LEVEL
    )


# Sample ratios


def measure_srm(options: BenchmarkOptions, random: np.random.Generator) -> None:
    """Halves, of which one arm loses a share of its users before they are logged."""
    rows = []
    for lost, users in ((0.0, 100_000), (0.01, 100_000), (0.01, 1_000_000), (0.02, 1_000_000), (0.05, 100_000)):
        dealt = random.binomial(users, 0.5, options.experiments)
        kept = random.binomial(dealt, 1 - lost)
        counts = zip(kept.tolist(), (users - dealt).tolist(), strict=True)
        found = [not check_sample_ratio({"a": a, "b": b}, {"a": 0.5, "b": 0.5}).matches for a, b in counts]
        rows.append([f"{lost:.0%}", f"{users:,}", share(found)])
    print_table(f"users that one arm loses | users | found (p < {ALPHA:g})", rows)


PARTS: dict[str, Callable[[BenchmarkOptions, np.random.Generator], None]] = {
    "looks": measure_looks,
    "power": measure_power,
    "interleaving": measure_interleaving,
    "off_policy": measure_off_policy,
    "srm": measure_srm,
}


if __name__ == "__main__":
    main()
