"""What another model would have earned: its probability of the first item of every list that a server drew by chance.

    python examples/ab_policy.py outputs/tiny sft slates policy.csv
    genrec ab --logs slates --outcomes outcomes.csv --metric clicks --policy policy.csv --policy_of first

Reads the log of an experiment with `sampled` and the visitors of examples/ab_visitors.py; scores every item for each.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from ab_visitors import read_visitors

import genrec
from genrec.experiments.log import read_slates
from genrec.experiments.statistics.slate_sampling import slate_propensities


def main(run: Path, model: str, slates: Path, policy: Path) -> None:
    drawn = read_slates(slates).frame.drop_nulls("propensities")
    history = {visitor: past for visitor, past, _ in read_visitors(run)}
    shop = genrec.load(run, model, decoding="frontier")
    number = {str(item): place for place, item in enumerate(shop.catalog.item_id)}
    rows = shop.read_histories([history[user] for user in drawn["user"]])
    seen = [np.array([number[item] for item in history[user]], dtype=np.int32) for user in drawn["user"]]
    scores = shop.score_all(rows, seen, np.zeros(0, dtype=np.int32))
    first = np.array([[number[items[0]]] for items in drawn["items"]])
    propensity = slate_propensities(scores, first)[:, 0]
    pl.DataFrame({"request": drawn["request"], "propensity": propensity}).write_csv(policy)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
