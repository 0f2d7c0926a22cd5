"""How often the first advice is right: a dozen faults with known cures, planted one by one in a small run.

    python benchmarks/planted_faults.py --work DIR                                  # all, a row a fault
    python benchmarks/planted_faults.py --work DIR --faults undertrained,few_beams
    python benchmarks/planted_faults.py --work DIR --epochs 1 --users 150 --faults few_beams   # quick, to see it work

A healthy run of the toy shop, one thing of it spoilt: a knob, or the raw files. The run is made, one round of the loop
takes the first advice, and the round is held against the run on valid rows. Prints a markdown table: what was advised
first, whether that turns the knob that was spoilt (or one known to mend it), and what valid gained, with its interval.
Runs that are finished are found again, so a killed call goes on. One core: OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.advice.strategies import CHANGE_THE_ROWS
from genrec.artifacts import read_json
from genrec.commandline import Command, parse, stage_program
from genrec.config import value_at
from genrec.data import toy
from genrec.pipeline import STAGES, affected, needed_for

HOME = Path(__file__).resolve().parents[1]

# The toy preset is made to be quick; this one learns the shop (valid NDCG@10 .60, last item .47).
HEALTHY: dict[str, Any] = {
    "sft.tasks": {"sid_to_sid": 1},
    "sft.sid_init": "codebooks",
    "sft.normalization": "vocab",
    "sft.pack": "windows",
    "sft.batch_size": 64,
    "sft.micro_batch_size": 64,
    "sft.learning_rate": 1e-2,
    "sft.num_epochs": 14,
    "sft.eval_step": 0.2,
    "sft.valid_size": 200,
    "sft.early_stop": 0,
    "rl.sample_size": 800,
    "rl.eval_step": 0.0625,
    "rl.valid_size": 200,
    "rl.beta": 0.01,
    "rl.normalization": "vocab",
    "evaluation.normalization": "vocab",
    "evaluation.num_beams": 20,
    "evaluation.models": ["sft"],
}
RISE, FALL = "rise", "fall"

Reviews = list[dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    says: str
    knobs: dict[str, Any]
    cures: dict[str, Any]  # key -> RISE, FALL, or the value that mends it; one of them is enough
    spoil: Callable[[Reviews], Reviews] | None = None  # of the raw reviews
    model: str = "sft"


def drop_returns(reviews: Reviews) -> Reviews:
    """Nobody comes back to an item."""
    seen: set[tuple[str, str]] = set()
    return [r for r in reviews if (pair := (r["reviewerID"], r["asin"])) not in seen and not seen.add(pair)]


def starve_tail(reviews: Reviews) -> Reviews:
    """Of every second cluster two of three reviews of the first three quarters are lost."""
    times = sorted(review["unixReviewTime"] for review in reviews)
    end, random = times[len(times) * 3 // 4], np.random.default_rng(0)
    return [r for r in reviews if r["unixReviewTime"] > end or cluster_of(r) % 2 or random.random() < 1 / 3]


def cluster_of(review: dict[str, Any]) -> int:
    return int(review["asin"][1:]) // toy.CLUSTER_SIZE


def sort_by_item(reviews: Reviews) -> Reviews:
    """Times are rounded to half years, and within one the file is in the order of items: the next one is larger."""
    coarse = [r | {"unixReviewTime": r["unixReviewTime"] // HALF_YEAR * HALF_YEAR} for r in reviews]
    return sorted(coarse, key=lambda r: (r["unixReviewTime"], r["asin"]))


HALF_YEAR = 182 * toy.DAY

FAULTS = {
    "undertrained": Fault("1 epoch", {"sft.num_epochs": 1}, {"sft.num_epochs": RISE}),
    "rate_too_high": Fault("10 x the rate", {"sft.learning_rate": 1e-1}, {"sft.learning_rate": FALL}),
    "rate_too_low": Fault("a fiftieth of the rate", {"sft.learning_rate": 2e-4}, {"sft.learning_rate": RISE}),
    "shared_sids": Fault(
        "64 IDs for 200 items",
        {"sids.num_levels": 2, "sids.codebook_size": 8, "sids.collisions": "keep"},
        {"sids.collisions": "reassign"},
    ),
    "starved_tail": Fault(
        "half of the clusters lack 2 of 3 training events",
        {},
        {"sft.balance": RISE},
        spoil=starve_tail,
    ),
    "short_history": Fault("1 item is kept", {"data.max_history": 1}, {"data.max_history": RISE}),
    "seen_items": Fault(
        "nobody comes back, seen items are listed",
        {"evaluation.filter_seen": False},
        {"evaluation.filter_seen": True},
        spoil=drop_returns,
    ),
    "rl_rate_too_high": Fault("7 x the rate of RL", {"rl.learning_rate": 2e-3}, {"rl.learning_rate": FALL}, model="rl"),
    "wrong_normalization": Fault(
        "taught over all tokens, ranked over the trie",
        {"evaluation.normalization": "trie"},
        {"evaluation.normalization": "vocab"},
    ),
    "cut_prompts": Fault("prompts of 24 tokens", {"sft.cutoff_len": 24}, {"sft.cutoff_len": RISE}),
    "leaking_ties": Fault(
        "times of half a year, the file in the order of items", {}, {"data.ties": "random"}, spoil=sort_by_item
    ),
    "few_beams": Fault("10 beams", {"evaluation.num_beams": 10}, {"evaluation.num_beams": RISE}),
}


@dataclass
class Outcome:
    fault: str
    advice: str = "none"
    changes: dict[str, Any] = field(default_factory=dict)
    cured: bool = False
    valid: dict[str, Any] | None = None  # NDCG@10 before, after, difference
    test: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def lifted(self) -> bool:
        return self.valid is not None and self.valid["difference"]["low"] > 0


def main() -> None:
    options = read_options()
    outcomes = []
    for name in options.faults:
        begin = time.perf_counter()
        outcome = try_fault(name, FAULTS[name], options)
        outcome.seconds = time.perf_counter() - begin
        outcomes.append(outcome)
        print(describe(outcome), file=sys.stderr, flush=True)
    print(make_table(outcomes))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory of all runs")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, with commas")
    parser.add_argument("--users", type=int, default=toy.NUM_USERS, help="users of the shop")
    parser.add_argument("--epochs", type=float, help="epochs of SFT of the healthy run, 14 if empty")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if unknown := set(options.faults) - FAULTS.keys():
        parser.error(f"unknown fault '{min(unknown)}'; there are: {', '.join(FAULTS)}")
    return options


def try_fault(name: str, fault: Fault, options: argparse.Namespace) -> Outcome:
    """The spoilt run and one round of the loop on it."""
    from genrec.stages import iterate

    command = make_command(name, raw_name(name, fault), {"evaluation.models": [fault.model]} | fault.knobs, options)
    with mock.patch.object(iterate, "call_stage", call_here):  # a process a stage would import torch each time
        make_run(name, fault, command, options)
        advice = first_advice(
            iterate.analyze_run(iterate.LoopRun(command.config, command.config.run.dir / "base.json"))
        )
        if advice is None:
            return Outcome(name)
        rounds = [] if advice.name in CHANGE_THE_ROWS else run_one_round(command, options.work / f"{name}.log")
    return Outcome(
        name,
        advice.name,
        {key: (value_of(command, key), value) for key, value in advice.changes.items()},
        any(mends(cure, value_of(command, key), advice.changes.get(key)) for key, cure in fault.cures.items()),
        rounds[0]["valid"][0] if rounds else None,
        rounds[0]["test"][0] if rounds else None,
    )


def make_command(run: str, raw: str, knobs: dict[str, Any], options: argparse.Namespace) -> Command:
    """`genrec iterate` on a run, begun from the healthy one of the same shop."""
    healthy = HEALTHY | {"run.seed": options.seed} | ({"sft.num_epochs": options.epochs} if options.epochs else {})
    paths = {"run.dir": str(options.work / run), "data.raw_dir": str(options.work / "raw" / raw)}
    paths |= {} if run == raw else {"run.from_run": str(options.work / raw)}
    words = [word for key, value in (healthy | knobs | paths).items() for word in (f"--{key}", as_word(value))]
    program = stage_program("genrec iterate", __doc__ or "", "iterate")
    return parse(program, ["--config", str(HOME / "config/tiny.yaml"), *words])


def as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def make_run(name: str, fault: Fault, command: Command, options: argparse.Namespace) -> None:
    """Every stage of the analysed model; what the fault leaves alone is made in the healthy run and shared with it."""
    from genrec.stages import iterate

    config, raw = command.config, raw_name(name, fault)
    write_shop(config.data.raw_dir / f"toy_seed{config.run.seed}", fault, options)
    healthy = make_command(raw, raw, {}, options).config
    spoilt = affected(fault.knobs, config)
    for stage in needed_for(config.analysis.model, config):
        if stage not in spoilt:
            call_here(stage, iterate.LoopRun(healthy, healthy.run.dir / "planted.json"))
        call_here(stage, iterate.LoopRun(config, config.run.dir / "planted.json"))


def raw_name(name: str, fault: Fault) -> str:
    """The shop, and the healthy run of it."""
    return f"{name}_shop" if fault.spoil else "healthy"


def write_shop(directory: Path, fault: Fault, options: argparse.Namespace) -> None:
    """The toy shop's raw files, the reviews spoilt."""
    if directory.exists():
        return
    toy.write_raw(directory, num_users=options.users, seed=options.seed)
    if fault.spoil:
        path = directory / "toy_5.json.gz"
        reviews = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        toy.write_gzip_lines(path, fault.spoil(reviews))


def call_here(name: str, run: Any, *flags: str) -> None:
    """A stage's command in this process."""
    from genrec import cli

    run.file.parent.mkdir(parents=True, exist_ok=True)
    run.file.write_text(run.config.model_dump_json())
    log = run.file.parent / f"{name}.log"
    try:
        with silenced(log):
            cli.main([STAGES[name].command, "--config", str(run.file), *flags])
    except SystemExit as stopped:
        raise SystemExit(f"{name} of {run.directory} failed: {log.read_text().splitlines()[-1]}") from stopped


@contextlib.contextmanager
def silenced(log: Path) -> Any:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


def run_one_round(command: Command, log: Path) -> list[dict[str, Any]]:
    from genrec.stages import iterate

    with silenced(log):
        iterate.run_loop(command)
    return read_json(command.config.run.dir / "rounds/rounds.json")["rounds"]


def first_advice(report: dict[str, Any]) -> Any:
    """What is advised first, also where no round can try it because it changes the rows."""
    from genrec.advice.strategies import make_advice, recommend_strategies

    names = recommend_strategies(report)
    return make_advice(report, names[0]) if names else None


def value_of(command: Command, key: str) -> Any:
    return value_at(command.config, key) if not key.startswith(("sft.tasks.", "rl.reward_type.")) else None


def mends(cure: Any, before: Any, after: Any) -> bool:
    if after is None:
        return False
    return after > before if cure == RISE else after < before if cure == FALL else after == cure


def describe(outcome: Outcome) -> str:
    change = outcome.valid["difference"] if outcome.valid else None
    gained = f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]" if change else "other rows"
    return f"{outcome.fault}: {outcome.advice} {outcome.changes}, cure {outcome.cured}, valid {gained}"


def make_table(outcomes: list[Outcome]) -> str:
    columns = "fault | planted | first advice | changes | the cure | valid NDCG@10 | change [95%] | on test"
    lines = [f"| {columns} |", "|---" * len(columns.split("|")) + "|"]
    lines += [make_row(each) for each in outcomes]
    right = sum(each.cured or each.lifted for each in outcomes)
    cured, lifted = sum(each.cured for each in outcomes), sum(each.lifted for each in outcomes)
    lines.append(
        f"\n{right} of {len(outcomes)}: the first advice is the cure, or lifts valid with an interval above zero "
        f"(the cure in {cured}, a lift in {lifted}); {sum(each.seconds for each in outcomes):.0f} s."
    )
    return "\n".join(lines)


def make_row(each: Outcome) -> str:
    changes = ", ".join(f"{key} {format_value(a)} -> {format_value(b)}" for key, (a, b) in each.changes.items())
    scores = f"{each.valid['baseline']:.4f} -> {each.valid['optimized']:.4f}" if each.valid else "-"
    cells = [each.fault, FAULTS[each.fault].says, each.advice, changes, "yes" if each.cured else "no", scores]
    return f"| {' | '.join([*cells, format_change(each.valid), format_change(each.test)])} |"


def format_value(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def format_change(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return "other rows"
    change = scores["difference"]
    return f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]"


if __name__ == "__main__":
    main()
