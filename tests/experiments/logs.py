"""A log and its outcomes, made without a server: users are dealt out, answers written, clicks drawn."""

from pathlib import Path

import numpy as np
import polars as pl

from genrec.experiments.assignment import Experiments
from genrec.experiments.log import Slate, SlateLog

ARMS = {"sft": {"share": 0.5}, "rl": {"share": 0.5}}
NAME = "rl_or_sft"


def experiments(**changes) -> Experiments:
    return Experiments.check({"experiments": {NAME: {"salt": "spring", "arms": ARMS} | changes}}, "test")


def write_log(directory: Path, slates: list[Slate], deal: Experiments | None = None, user_key: str | None = None):
    log = SlateLog(directory, deal or experiments(), user_key=user_key)
    for slate in slates:
        log.append(slate)
    log.close()
    return directory


def answer(number: int, user: str, arm: str, **fields) -> Slate:
    made = dict(time=1000.0 + number, request=f"r{number}", user=user, experiment=NAME, arm=arm, version="1")
    return Slate(**(made | dict(items=["a", "b", "c"], scores=[3.0, 2.0, 1.0]) | fields))


def write_world(directory: Path, users: int = 600, lift: float = 0.0, seed: int = 0) -> Path:
    """Two answers a user; clicks with a mean of 1 an answer, `lift` more in the arm rl; revenue five times as many."""
    random, deal = np.random.default_rng(seed), experiments()
    slates, rows, before = [], [], []
    for number in range(users):
        user = f"u{number}"
        arm, taste = deal.assign(user).arm, random.gamma(4, 0.25)
        before.append({"user": user, "clicks": int(random.poisson(10 * taste))})
        for turn in range(2):
            slates.append(answer(2 * number + turn, user, arm))
            clicks = int(random.poisson(taste * (1 + lift * (arm == "rl"))))
            rows.append({"user": user, "request": f"r{2 * number + turn}", "clicks": clicks, "revenue": 5 * clicks})
    write_log(directory / "logs", slates, deal)
    pl.DataFrame(rows).write_csv(directory / "outcomes.csv")
    pl.DataFrame(before).write_csv(directory / "before.csv")
    return directory
