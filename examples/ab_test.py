"""An A/B test without a shop: users with tastes of their own, two rankers, a log, and what was clicked.

    python examples/ab_test.py DIR      writes DIR/experiments.yaml, logs/, outcomes.csv, before.csv, policy.csv
    genrec ab --logs DIR/logs --outcomes DIR/outcomes.csv --before DIR/before.csv

Lists are drawn from each ranker's scores and logged with their probabilities, so that policy.csv, a third ranker's
probabilities of the same lists, can be judged too. What a server does is `assign`, draw, `append`.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from genrec.experiments.assignment import Experiments
from genrec.experiments.log import Slate, SlateLog
from genrec.experiments.statistics.slate_sampling import sample_slates, slate_propensities

EXPERIMENTS = """experiments:
  rl_or_sft:
    salt: spring
    arms:
      sft: {share: 0.5, model: sft}
      rl: {share: 0.5, model: rl}
"""
USERS, TURNS, ITEMS, K = 3000, 3, 40, 3
SHARPNESS = {"sft": 1.0, "rl": 1.3, "next": 1.2}  # how well each ranker knows a taste


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "experiments.yaml").write_text(EXPERIMENTS)
    experiments = Experiments.read(directory / "experiments.yaml")
    random = np.random.default_rng(0)
    taste, eager = random.standard_normal((USERS, ITEMS)), random.gamma(4, 0.25, USERS)

    log = SlateLog(directory / "logs", experiments)
    outcomes, policy = [], []
    for user in range(USERS):
        arm = experiments.assign(f"u{user}").arm
        scores = np.tile(SHARPNESS[arm] * taste[user], (TURNS, 1))
        drawn = sample_slates(scores, K, random)
        other = slate_propensities(SHARPNESS["next"] / SHARPNESS[arm] * scores, drawn.items).prod(axis=1)
        for turn, (items, propensities) in enumerate(zip(drawn.items, drawn.propensities, strict=True)):
            request, names = f"{user}-{turn}", [f"item{item}" for item in items]
            log.append(Slate(1.764e9 + 60.0 * user + turn, request, f"u{user}", "rl_or_sft", arm, "1", names,
                             scores[turn, items].tolist(), propensities.tolist()))  # fmt: skip
            policy.append((request, other[turn]))
            clicked = random.random(K) < np.minimum(0.1 * eager[user] * np.exp(taste[user, items] / 2), 1)
            for place in np.flatnonzero(clicked):
                outcomes.append((f"u{user}", request, names[place], 1, random.integers(5, 50)))
    log.close()

    write(directory / "outcomes.csv", outcomes, ["user", "request", "item", "clicks", "revenue"])
    write(directory / "before.csv", [(f"u{n}", c) for n, c in enumerate(random.poisson(8 * eager))], ["user", "clicks"])
    write(directory / "policy.csv", policy, ["request", "propensity"])


def write(path: Path, rows: list, columns: list[str]) -> None:
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
