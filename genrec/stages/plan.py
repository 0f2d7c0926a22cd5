"""What would a shop of this size take? CPU seconds, memory and machines a stage, from rates that were measured.

    genrec plan --users 1000000 --items 100000 --events 50000000
    genrec plan --users 1e8 --items 1e7 --events 1e9 --model_parameters 494e6 --cores 64 --memory 256 --hours 72

Reads and writes nothing. --rates prints each rate, where it was measured, and how far it errs on other sizes.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from genrec.commandline import options_program, parse
from genrec.config import Section, knob
from genrec.engine.cost_model import CHECKS, GIB, RATES, Machine, Shop, Stage, count_machines, plan_stages
from genrec.tables import render_table

LARGEST = 10**15


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
    shop = Shop(**{name: getattr(options, name) for name in Shop._fields})
    machine = Machine(**{name: getattr(options, name) for name in Machine._fields})
    print(describe_plan(plan_stages(shop), machine))
    if options.rates:
        print(f"\n{describe_rates()}\n\n{describe_checks()}")


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
        f"{table}\n\n{kind}; data, embeddings and sids are computed on one, sft and recommend on many (run.engine ray)"
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
