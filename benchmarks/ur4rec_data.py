"""What UR4Rec's two protocols say of popularity, and what its batches cost.

OMP_NUM_THREADS=1 python benchmarks/ur4rec_data.py [--data_dir DIR]
"""

from __future__ import annotations

import statistics
import sys
from collections import deque
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import timed
from genrec.cli import run_program
from genrec.config import Section, knob
from UR4Rec.options import read_options

SEEDS = (1, 2, 3, 4, 5)


class BenchmarkOptions(Section):
    data_dir: Path | None = knob(None, "folder of the files, as UR4Rec/data/dataset_loader.py takes it")


def main() -> None:
    import torch

    from genrec.evaluation.report import estimate_means
    from UR4Rec.data.dataset_loader import load_ml_100k
    from UR4Rec.data.multimodal_dataset import create_dataloaders, train_prefixes
    from UR4Rec.evaluation import evaluate_candidates, evaluate_full

    items, sequences, _ = load_ml_100k(read_options("ur4rec_data.py", __doc__, BenchmarkOptions).data_dir)
    liked = torch.tensor([item for films in train_prefixes(sequences).values() for item in films])
    popularity = torch.bincount(liked, minlength=len(items) + 1).float()  # (N + 1,)

    for seed in SEEDS:
        test = create_dataloaders(sequences, items, seed=seed)[2]
        metrics = evaluate_candidates(lambda batch, candidates: popularity[candidates], test)
        print(f"100 candidates, seed {seed}: hit@10 {metrics['hit@10']:.4f}, NDCG@10 {metrics['ndcg@10']:.4f}")
    for exclude_seen in (True, False):
        score = partial(by_popularity, popularity)
        report = evaluate_full("popular", score, test, items, exclude_seen).report
        for metric, value in estimate_means(
            report.user, {m: report.scores[m] for m in ("hr@10", "ndcg@10")}, 42
        ).items():
            print(f"{report.model}, whole catalogue: {metric} {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]")
    for windows in (False, True):
        train = create_dataloaders(sequences, items, windows=windows)[0]
        seconds = statistics.median(timed(partial(deque, train, maxlen=0)).cpu for _ in range(5))
        print(
            f"windows={windows}: {len(train.dataset):,} rows, {len(train)} batches, {seconds:.3f} CPU seconds an epoch"
        )


def by_popularity(popularity, batch):
    return popularity.expand(len(batch["user_ids"]), -1)  # (B, N + 1)


if __name__ == "__main__":
    run_program(__file__, main)
