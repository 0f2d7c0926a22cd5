"""What a shop of any size takes: CPU seconds, memory and machines a stage, from unit rates that were measured.

A rate names the page of docs/results and the words there that it is taken from; a test holds the two together. Costs
that grow with a model are a + b x parameters a unit, through two sizes that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from genrec.config import Sids

GIB = 2**30
CORES = 2  # of the machine of docs/results: seconds of wall time there are at most so many CPU seconds


class Rate(NamedTuple):
    """A measured cost of a unit of work."""

    value: float  # in `unit`
    unit: str
    page: str  # of docs/results
    words: str  # on that page


class Shop(NamedTuple):
    """How large."""

    users: int
    items: int
    events: int
    model_parameters: int
    epochs: int
    levels: int  # of the semantic IDs


class Machine(NamedTuple):
    """One of those that are to be had, and how long it may take."""

    cores: int
    memory: float  # GiB
    hours: float


class Stage(NamedTuple):
    """What one stage takes."""

    name: str
    work: str
    cpu_seconds: float
    memory: float  # bytes at its peak, of one process
    shared: bool  # whether more machines make it faster


PARSING = Rate(CORES * 74.6 / 10e6, "CPU s an event", "speed.md", "| 10 M reviews | 74.6 s, peak 2.35 GB |")
EVENT_MEMORY = Rate(2.35e9 / 10e6, "bytes an event", "speed.md", "| 10 M reviews | 74.6 s, peak 2.35 GB |")
SHARD_MEMORY = Rate(823e6 / 10e6, "bytes an event", "speed.md", "the process that asks 823 MB")
TASK = Rate(0.02, "s a task", "speed.md", "took .07 s each, the next three hundred .02 s")
EMBEDDING = Rate(CORES * 11 / 1349, "CPU s a text", "quickstart.md", "text vectors\n11 s")
TEXT_MEMORY = Rate((548 - 386) * 2**20 / (3_000_000 - 262_144), "bytes an item", "speed.md", "386 and 548 MiB")
QUANTIZING = Rate(
    506 / 1e6 / 3, "CPU s an item and level", "semantic-ids.md", "| 1,000,000 x 384, 3 levels | 1,000,000"
)
GIVING = Rate((373 - 162) / 2e6 / 3, "CPU s an item and level", "speed.md", "| 3,000,000 | 373 | 624 | 1.32 GiB |")
ITEM_MEMORY = Rate(4.64 * GIB / 1e6, "bytes an item", "semantic-ids.md", "(12 minutes; target 15) and 4.64 GiB")
SMALL_SFT = Rate(
    124 / 6 / 33_019, "CPU s a target", "language-models.md", "(c .5, no R-Drop, 6 epochs, 124 CPU seconds)"
)
LARGE_SFT = Rate(37 * 60 / 33_019, "CPU s a target", "language-models.md", "for 37 CPU minutes against 6")
SFT_MEMORY = Rate(
    3_477 * 2**20 / 494e6, "bytes a parameter", "speed.md", "| | `pack exact` | 1.6 | 9.5 | 3,477 | .80 |"
)
SMALL_LISTS = Rate(0.00377, "CPU s a user", "speed.md", "| quickstart shape, random, 3,700 items | 1.14 | 3.77 |")
LARGE_LISTS = Rate(2.073, "CPU s a user", "speed.md", "| 0.5B shape, random, 3,700 items (one round) | 837 | 2,073 |")
RATES = {
    "parsing": PARSING,
    "memory of parsing": EVENT_MEMORY,
    "memory of parsing by shards": SHARD_MEMORY,
    "a task of Ray": TASK,
    "embedding": EMBEDDING,
    "memory of embedding": TEXT_MEMORY,
    "quantizing": QUANTIZING,
    "quantizing, of more items": GIVING,
    "memory of quantizing": ITEM_MEMORY,
    "SFT, .8 M parameters": SMALL_SFT,
    "SFT, 134.5 M parameters": LARGE_SFT,
    "memory of SFT": SFT_MEMORY,
    "lists, .3 M parameters": SMALL_LISTS,
    "lists, 494 M parameters": LARGE_LISTS,
}
TRAIN_SHARE = 0.8  # of events that are targets of training, in a chronological split
LEARNED = Sids.model_fields["train_rows"].default  # items that semantic IDs are learned from
TEXT_MODEL = 0.5 * GIB  # a sentence encoder and torch
FLOAT = 4  # bytes of a weight where lists are made


def line_through(small: tuple[float, float], large: tuple[float, float]) -> Callable[[float], float]:
    """parameters -> cost, through two points (parameters, cost)."""
    slope = (large[1] - small[1]) / (large[0] - small[0])
    return lambda parameters: max(small[1] + slope * (parameters - small[0]), 0.0)


sft_seconds = line_through((0.8e6, SMALL_SFT.value), (134.5e6, LARGE_SFT.value))  # a target
list_seconds = line_through((0.3e6, SMALL_LISTS.value), (494e6, LARGE_LISTS.value))  # a user


def plan_stages(shop: Shop) -> list[Stage]:
    targets = TRAIN_SHARE * shop.events * shop.epochs
    learned = min(shop.items, LEARNED)
    return [
        Stage("data", f"{shop.events:,} events", shop.events * PARSING.value, shop.events * SHARD_MEMORY.value, True),
        Stage(
            "embeddings",
            f"{shop.items:,} texts",
            shop.items * EMBEDDING.value,
            TEXT_MODEL + shop.items * TEXT_MEMORY.value,
            True,
        ),
        Stage(
            "sids",
            f"{shop.items:,} vectors, {shop.levels} levels",
            shop.levels * (learned * QUANTIZING.value + (shop.items - learned) * GIVING.value),
            learned * ITEM_MEMORY.value,
            False,
        ),
        Stage(
            "sft",
            f"{targets:,.0f} targets, {shop.epochs} epochs",
            targets * sft_seconds(shop.model_parameters),
            shop.model_parameters * SFT_MEMORY.value,
            True,
        ),
        Stage(
            "recommend",
            f"{shop.users:,} users, 50 beams",
            shop.users * list_seconds(shop.model_parameters),
            shop.model_parameters * FLOAT,
            True,
        ),
    ]


def count_machines(stage: Stage, machine: Machine) -> tuple[int, str]:
    """How many machines a stage wants, and what one of its processes lacks there, '' where nothing."""
    hours = stage.cpu_seconds / 3600 / machine.cores
    wanted = max(1, math.ceil(hours / machine.hours))
    if stage.memory > machine.memory * GIB:
        return wanted if stage.shared else 1, f"needs {stage.memory / GIB:,.0f} GiB"
    if not stage.shared and wanted > 1:
        return 1, f"takes {hours:,.0f} h on one"
    return wanted, ""


class Check(NamedTuple):
    """A size that was run, beside what the rates say of it."""

    what: str
    measured: float  # CPU s, or s of CORES cores
    predicted: float
    page: str
    words: str

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


CHECKS = [
    Check("data: 10 M events as a table", CORES * 72.0, 10e6 * PARSING.value, "speed.md", "72.0 s, peak 2.43 GB"),
    Check("data: 1 M reviews", CORES * 2.82, 1e6 * PARSING.value, "speed.md", "| 2.82 s, 0.31 GB |"),
    Check(
        "sids: 20,000 rows, one level",
        26.2,
        20_000 * QUANTIZING.value,
        "semantic-ids.md",
        "| 64 blobs | 20,000 | .9976 | 78..79 | 26.2 |",
    ),
    Check(
        "sft: .8 M parameters, 8 epochs",
        142,
        33_019 * 8 * sft_seconds(0.8e6),
        "language-models.md",
        "| c .5 | 2 | codebooks | .3 / .1 | 8, 64, 5e-3 | .1022 / .1430 | 142 |",
    ),
    Check(
        "sft: the same, 7 epochs of two passes each (R-Drop)",
        290,
        33_019 * 7 * 2 * sft_seconds(0.8e6),
        "language-models.md",
        "| the same, R-Drop 1 | 2 | codebooks | .2 / .1 | 7, 64, 5e-3 | .1054 / .1414 | 290 |",
    ),
    Check(
        "sft: 36 targets of the 0.5B shape",
        36 / 1.6,
        36 * sft_seconds(494e6),
        "speed.md",
        "| | `pack windows` | 1.6 | 9.5 | 3,569 | .82 |",
    ),
    Check(
        "recommend: a user, quickstart shape",
        CORES / 577,
        list_seconds(0.3e6),
        "speed.md",
        "| the same, another run | 98.4%, one near-tie swapped | 577 |",
    ),
    Check(
        "recommend: a user, 0.5B shape",
        CORES / 0.80,
        list_seconds(494e6),
        "speed.md",
        "| 0.5B shape (24 blocks, vocabulary 152,704), float32 | 100% | 0.80 |",
    ),
]
