"""What would a shop of this size take? CPU seconds, memory and machines a stage, from rates that were measured.

    genrec plan --users 1000000 --items 100000 --events 50000000
    genrec plan --users 1e8 --items 1e7 --events 1e9 --model_parameters 494e6 --cores 64 --memory 256 --hours 72
    genrec plan --events 1e9 --workers 32 --slow 0.05 --loss_hours 100     # how large the shards of the data should be

Reads and writes nothing. --rates prints each rate, where it was measured, and how far it errs on other sizes.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from genrec.commandline import options_program, parse
from genrec.config import Section, knob
from genrec.engine.cost_model import CHECKS, GIB, RATES, TASK, Machine, Shop, Stage, count_machines, plan_stages
from genrec.engine.shard_size import SEEDS, Fate, Job, Outcome, choose_shard_size
from genrec.errors import fail
from genrec.tables import render_table

LARGEST = 10**15
MIB = 2**20
BACK = 60.0  # seconds until another worker is there for one that was lost


class ScaleOptions(Section):
    """How large the shop is, and what machines there are."""

    users: int = knob(1_000_000, "users, each to get a list", ge=1)
    items: int = knob(100_000, "items", ge=1)
    events: int = knob(10_000_000, "events: reviews, purchases", ge=1)
    model_parameters: int = knob(800_000, "parameters of the language model; 494e6 is Qwen2.5-0.5B", ge=1)
    epochs: int = knob(6, "epochs of SFT", ge=1)
    levels: int = knob(3, "levels of the semantic IDs", ge=1)
    cores: int = knob(16, "cores a machine", ge=1)
    memory: float = knob(64.0, "GiB a machine", gt=0)
    hours: float = knob(24.0, "hours that a stage may take", gt=0)
    workers: int = knob(
        0, "simulate the preparation by shards with so many workers, for data.shard_size; 0: do not", ge=0, le=10_000
    )
    event_bytes: int = knob(500, "bytes of text that an event has in the raw files", ge=1)
    slow: float = knob(0.05, "share of workers that are slow, in the simulation", ge=0, le=1)
    slowness: float = knob(3.0, "times as long as the others these take", ge=1, le=1000)
    loss_hours: float = knob(100.0, "hours of work, on average, until a worker is lost", ge=0.01)
    seed: int = knob(42, "seed of who is slow and who is lost when", ge=0)
    rates: bool = knob(False, "print the rates, their sources and their errors on other sizes too")

    @field_validator("*", mode="after")
    @classmethod
    def bound_numbers(cls, value: Any) -> Any:
        """In place of the bound that all other knobs have: models and logs are larger than any seed."""
        if not isinstance(value, bool) and not value <= LARGEST:
            raise ValueError(f"a number must be at most {LARGEST:g}, found {value!r}")
        return value

    @field_validator("users", "items", "events", "model_parameters", mode="before")
    @classmethod
    def read_powers(cls, value: Any) -> Any:
        """1e9 is a whole number."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


def main(argv: list[str] | None = None) -> None:
    options = parse(options_program("genrec plan", __doc__, ScaleOptions), argv).config
    refuse_unread(options)
    shop = Shop(**{name: getattr(options, name) for name in Shop._fields})
    machine = Machine(**{name: getattr(options, name) for name in Machine._fields})
    stages = plan_stages(shop)
    print(describe_plan(stages, machine))
    if options.workers:
        job = Job(stages[0].cpu_seconds, shop.events * options.event_bytes / MIB, TASK.value)
        fate = Fate(options.workers, options.slow, options.slowness, options.loss_hours, BACK)
        print(f"\n{describe_sizes(*choose_shard_size(job, fate, options.seed), fate)}")
    if options.rates:
        print(f"\n{describe_rates()}\n\n{describe_checks()}")


def refuse_unread(options: ScaleOptions) -> None:
    """What only the simulation reads is not passed over without it."""
    for key in ("event_bytes", "slow", "slowness", "loss_hours", "seed"):
        if not options.workers and (value := getattr(options, key)) != ScaleOptions.model_fields[key].default:
            fail(f"--{key} {value} would do nothing with --workers 0, which simulates nothing; add --workers 8, say")


def describe_plan(stages: list[Stage], machine: Machine) -> str:
    head = ["stage", "work", "CPU s", "GiB a process", "machines", ""]
    rows = [
        [stage.name, stage.work, f"{stage.cpu_seconds:,.0f}", f"{stage.memory / GIB:,.2f}", f"{count:,}", lack]
        for stage in stages
        for count, lack in [count_machines(stage, machine)]
    ]
    table = render_table([head, *rows], words=("stage", "work", ""))
    kind = f"machines of {machine.cores} cores and {machine.memory:g} GiB, each stage within {machine.hours:g} h"
    return (
        f"{table}\n\n{kind}; data, embeddings, sft and recommend are computed on many (run.engine ray), of sids the "
        "codes of more than sids.train_rows items; one learns them, so sids are counted on one"
    )


def describe_sizes(best: int, outcomes: list[Outcome], fate: Fate) -> str:
    head = ["data.shard_size", "tasks a step", "median s", "worst s", "lost worker s"]
    rows = [[f"{o.size}", f"{o.tasks:,}", *(f"{x:,.0f}" for x in (o.usual, o.worst, o.lost))] for o in outcomes]
    return (
        f"{render_table([head, *rows])}\n\npreparation by {fate.workers} workers, {SEEDS} simulated turns, "
        f"{fate.slow:.0%} of them {fate.slowness:g} times as slow, one lost in {fate.hours:g} h of its work: "
        f"--data.shard_size {best}"
    )


def describe_rates() -> str:
    rows = [[name, f"{rate.value:.3g}", rate.unit, rate.page] for name, rate in RATES.items()]
    return render_table([["rate", "value", "unit", "docs/results/"], *rows], words=("rate", "unit", "docs/results/"))


def describe_checks() -> str:
    rows = [
        [check.what, f"{check.measured:.3g}", f"{check.predicted:.3g}", f"{check.error:+.0%}", check.page]
        for check in CHECKS
    ]
    head = ["another size that was run", "CPU s", "by the rates", "error", "docs/results/"]
    return render_table([head, *rows], words=(head[0], head[-1]))
