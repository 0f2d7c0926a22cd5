"""What another model would have earned: its probability of the first item of every list that a server drew by chance.

    python examples/ab_policy.py outputs/quickstart rl slates policy.csv
    python examples/ab_policy.py outputs/quickstart rl slates policy.csv sasrec     doubly robust, with guessed clicks
    genrec ab --logs slates --outcomes outcomes.csv --metric clicks --policy policy.csv --policy_of first

Reads the log of an experiment with `sampled` and the visitors of examples/ab_visitors.py; scores every item for each.
A further model of the run guesses the clicks: a visitor clicks the first item where that is what comes next, so its
probability is the chance of a click.

E answers, N items
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from ab_visitors import BY_CHANCE, read_visitors

import genrec
from genrec.experiments.log import read_slates
from genrec.experiments.statistics.slate_sampling import log_sum


def main(run: Path, model: str, slates: Path, policy: Path, guesses: str | None = None) -> None:
    drawn = read_slates(slates).frame.drop_nulls("propensities")
    history = {visitor: past for visitor, past, _ in read_visitors(run)}
    histories = [history[user] for user in drawn["user"]]
    probability = next_item(run, model, histories)  # (E, N)
    number = {str(item): place for place, item in enumerate(genrec.load(run, model).catalog.item_id)}
    first = np.arange(len(drawn)), np.array([number[items[0]] for items in drawn["items"]])
    table = {"request": drawn["request"], "propensity": probability[first]}
    if guesses is not None:
        click = BY_CHANCE + (1 - BY_CHANCE) * next_item(run, guesses, histories)  # (E, N) of an item that stands first
        table |= {"predicted": click[first], "predicted_policy": (probability * click).sum(axis=1)}
    pl.DataFrame(table).write_csv(policy)


def next_item(run: Path, model: str, histories: list[list[str]]) -> np.ndarray:
    """(E, N) probability of each item after each history, 0 for what was seen."""
    shop = genrec.load(run, model, decoding="frontier")
    rows = shop.read_histories(histories)
    seen = [rows.item[start:end] for start, end in zip(rows.offset[:-1], rows.offset[1:], strict=True)]
    scores = shop.score_all(rows, seen, np.zeros(0, dtype=np.int32))
    return np.exp(scores - log_sum(scores)[:, None])


if __name__ == "__main__":
    run, model, slates, policy, *guesses = sys.argv[1:]
    main(Path(run), model, Path(slates), Path(policy), *guesses)
