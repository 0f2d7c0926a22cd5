"""What each family makes of targets that nobody bought in training, beside what it makes of the others.

    python benchmarks/cold_items.py --shares 0.02,0.05 -- --run.dir RUN --config industrial_small --data.raw_dir DIR \
        --models sft,sasrec_text,item_knn --evaluation.split valid

Scores the rows by `genrec evaluate` (what follows -- are its flags), language models once more with each
`evaluation.cold_share`, and the neighbours of the history in the space of text vectors as a model of its own. Prints
markdown: HR@10 and NDCG@10 of the cold and of the warm targets, of all NDCG@10 with its 95% interval, and how often a
cold item stands among the first ten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.artifacts import MANIFEST, RECOMMENDATIONS, load_arrays
from genrec.commandline import parse_strict, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.evaluation.report import Report, estimate_means, read_report
from genrec.models.knn import weighted_history
from genrec.models.popular import leave_out, take_top_k
from genrec.stages import evaluate
from genrec.store import RunStore

if TYPE_CHECKING:
    from genrec.data.sequences import Examples
    from genrec.evaluation.metrics import Recommendations
    from genrec.models.families import Request

TEXT_NEIGHBOURS = "benchmarks.cold_items:text_neighbours"
COLD = "cold target"
TOP = 10
METRICS = ("hr@10", "ndcg@10")


class TextNeighbours:
    """Score of j = sum over history items h of DECAY^age(h) * cosine of their text vectors."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # (N, D)

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        wanted = weighted_history(examples.history, len(self.vectors)) @ self.vectors  # (B, D)
        return take_top_k(leave_out(wanted @ self.vectors.T, examples.excluded), k)


def text_neighbours(request: Request) -> TextNeighbours:
    return TextNeighbours(np.asarray(request.store.vectors(len(request.data.catalog)), dtype=np.float32))


def main() -> None:
    options = read_options()
    config, shared = plan_rows(options.flags, options.shares.split(","))
    models = ",".join(config.evaluation.models)
    evaluate.main([*options.flags, "--models", f"{models},{TEXT_NEIGHBOURS}"])
    for flags in shared:
        evaluate.main(flags)
    print(f"\n{make_table(config)}")


def plan_rows(flags: list[str], shares: list[str]) -> tuple[Config, list[list[str]]]:
    """(what is asked, flags of language models with each share); one that cannot be ends this before any scoring."""
    program = stage_program("evaluate", __doc__, "evaluation")
    with exit_on_failure(Path()):
        config = parse_strict(program, flags).config
        taught = ",".join(name for name in config.evaluation.models if name in ("sft", "rl"))
        shared = [[*flags, "--models", taught, "--evaluation.cold_share", share] for share in shares if taught]
        for words in shared:
            parse_strict(program, words)
    return config, shared


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", default="0.05", help="values of evaluation.cold_share")
    parser.add_argument("flags", nargs="*", help="of `genrec evaluate`, after --")
    return parser.parse_args()


def make_table(config: Config) -> str:
    """A line a row of the table on this split."""
    store = RunStore.of(config)
    table = store.directory / ("evaluation_valid" if config.evaluation.split == "valid" else "evaluation")
    unsold = store.prepared().train_count == 0
    lines = [
        "| row | cold HR@10 / NDCG@10 | warm HR@10 / NDCG@10 | all NDCG@10 [95%] | lists with a cold item |",
        "|---|---|---|---|---|",
    ]
    for place in sorted(path.parent for path in table.glob(f"*/{MANIFEST}")):
        report, item = read_report(place), load_arrays(place / RECOMMENDATIONS, "item")["item"][:, :TOP]
        cold = report.slices[COLD]
        parts = [describe(report, chosen) for chosen in (cold, ~cold)]
        whole = estimate_means(report.user, {"ndcg@10": report.scores["ndcg@10"]}, config.run.seed)["ndcg@10"]
        listed = (unsold[item] & (item >= 0)).any(axis=1).mean()
        shown = f"{whole.mean:.4f} [{whole.low:.4f}, {whole.high:.4f}]"
        lines.append(f"| {place.name} | {parts[0]} | {parts[1]} | {shown} | {listed:.1%} |")
    return "\n".join([*lines, "", f"{cold.sum():,} of {len(cold):,} targets are cold."])


def describe(report: Report, chosen: np.ndarray) -> str:
    """HR@10 / NDCG@10 of some rows."""
    return " / ".join(f"{report.scores[name][chosen].mean():.4f}" for name in METRICS) if chosen.any() else "-"


if __name__ == "__main__":
    main()
