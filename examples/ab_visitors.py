"""Visitors of a server that runs an experiment: held-out rows of a run, who ask for a list and click.

    genrec serve --run.dir outputs/quickstart --model rl --also sft,sasrec --experiments three.yaml --slates slates
    python examples/ab_visitors.py outputs/quickstart http://127.0.0.1:8000 outcomes.csv
    genrec ab --logs slates --outcomes outcomes.csv --metric clicks

A visitor is a row of valid or test: what the user took before it is sent as events under a name of its own, so the
server knows the visitor and not what comes next. Then two lists are asked for. The held-out item is clicked with chance
1 / log2(1 + place), as DCG discounts it, any other by one in a hundred.
"""

import csv
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genrec.store import RunStore

TURNS, K, BY_CHANCE = 2, 10, 0.01

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]  # path, body -> answer


def main(run: Path, ask: Ask, outcomes: Path) -> None:
    random = np.random.default_rng(0)
    with outcomes.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user", "request", "item", "clicks"])
        for visitor, history, wanted in read_visitors(run):
            ask("/events", {"user": visitor, "items": history})
            for _ in range(TURNS):
                answer = ask("/recommend", {"user": visitor, "k": K})
                for place, item in enumerate(answer["items"], start=1):
                    chance = 1 / np.log2(1 + place) if item["id"] == wanted else BY_CHANCE
                    if random.random() < chance:
                        table.writerow([visitor, answer["request"], item["id"], 1])


def read_visitors(run: Path) -> Iterator[tuple[str, list[str], str]]:
    """(name, ids of what was taken before, id of what is taken next)"""
    data = RunStore(run).prepared()
    ids = [str(item) for item in data.catalog.item_id]
    for split in ("valid", "test"):
        rows = data.examples(split)
        for number, (past, target) in enumerate(zip(rows.history, rows.target, strict=True)):
            history = [ids[item] for item in past if item >= 0]
            if history:
                yield f"{split}-{number}", history, ids[target]


def ask_server(address: str) -> Ask:
    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return ask


if __name__ == "__main__":
    main(Path(sys.argv[1]), ask_server(sys.argv[2]), Path(sys.argv[3]))
