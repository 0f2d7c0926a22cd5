"""The table of a set on which the papers report: every family, several seeds, seen items left out and kept.

    python benchmarks/canonical.py --dataset Beauty --events DIR/interactions.csv.gz --items DIR/items.csv.gz --work DIR
    python benchmarks/canonical.py --dataset Beauty --events F --items F --work DIR --seeds 0,1,2 --history 50 \
        -- --sft.teacher sasrec_text --skip rl                       # what follows -- goes to `genrec run`

Leave-one-out, full catalogue, rows as the file has them. Each seed is one run of `genrec run --seeds`; what is finished
is found again, so a killed call goes on. Each row is scored with seen items left out and kept. Prints markdown:
Recall@10 (one target a row, so HR@10 too) and NDCG@10, means over all seeds with 95% intervals that draw users with all
their seeds, the paired difference of NDCG@10 to the row --against, and seconds of training a seed.
Begin it with OMP_NUM_THREADS=1 where another job runs.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import paired
from genrec.artifacts import MANIFEST, read_manifest
from genrec.evaluation.report import Estimate, Report, estimate_means, read_report
from genrec.stages.run import drop_flags

METRICS = ("hr@10", "ndcg@10")
MODELS = ("popular", "last_item", "item_knn", "sasrec_bce", "sasrec", "sasrec_text", "sft", "ensemble", "rl")
SEQUENTIAL = ("sasrec_bce", "sasrec", "sasrec_text")


@dataclass(frozen=True)
class Row:
    """One family under one treatment of seen items, a report a seed."""

    family: str
    filters: bool
    reports: list[Report]


def main() -> None:
    options = read_options()
    flags, more = run_flags(options), options.more
    seeds = options.seeds.split(",")
    call(["run", *flags, "--run.dir", str(options.work), "--seeds", options.seeds, "--yes"])
    runs = [options.work / "seeds" / seed for seed in seeds]
    skipped = {
        name for flag, value in zip(more, more[1:], strict=False) if flag == "--skip" for name in value.split(",")
    }
    models = [name for name in MODELS if name not in skipped]
    for seed, run in zip(seeds, runs, strict=True):
        other = "false" if read_report(run / "evaluation" / models[0]).lists.filter_seen else "true"
        scored = ["--evaluation.models", ",".join(models), "--evaluation.filter_seen", other]
        call(["evaluate", *drop_flags(flags, "--skip"), "--run.dir", str(run), "--run.seed", seed, *scored])
    print(make_table([read_row(runs, name, filters) for filters in (True, False) for name in models], options.against))
    print(f"\n{describe_training(runs)}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="its name in the table")
    parser.add_argument(
        "--events", required=True, help="user, item and position or time, as data.source table reads it"
    )
    parser.add_argument("--items", required=True, help="item and title")
    parser.add_argument("--work", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--preset", default="industrial_small")
    parser.add_argument("--history", default="20", help="data.max_history; the papers cut at 20 and at 50")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--against", default="sasrec_text", help="the row that all others are held against")
    parser.add_argument("more", nargs="*", help="flags of `genrec run`, after --")
    return parser.parse_args()


def run_flags(options: argparse.Namespace) -> list[str]:
    data = ["--data.dataset", options.dataset, "--data.events", options.events, "--data.items", options.items]
    presets = ["--config", options.preset, "--config", "config/datasets/amazon14.yaml"]
    trained = ["--sequential.models", ",".join(SEQUENTIAL), "--evaluation.models", ",".join(MODELS)]
    return [*presets, *data, "--data.max_history", options.history, *trained, *options.more]


def call(words: list[str]) -> None:
    print(f"$ genrec {shlex.join(words)}", file=sys.stderr, flush=True)
    home = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-m", "genrec", *words], stdout=sys.stderr, cwd=home)
    if done.returncode:  # it has said why
        sys.exit(done.returncode)


def read_row(runs: list[Path], family: str, filters: bool) -> Row:
    """The row of this family whose lists left seen items out, or kept them, in every run."""
    found = []
    for run in runs:
        places = [path.parent for path in sorted((run / "evaluation").glob(f"{family}*/{MANIFEST}"))]
        matching = [place for place in places if is_row(place, family, filters)]
        if len(matching) != 1:
            raise SystemExit(
                f"{run}: {len(matching)} rows of {family} with seen items {'left out' if filters else 'kept'}"
            )
        found.append(read_report(matching[0]))
    return Row(family, filters, found)


def is_row(place: Path, family: str, filters: bool) -> bool:
    manifest = read_manifest(place)
    return bool(manifest) and manifest.config["family"] == family and read_report(place).lists.filter_seen == filters


def average(reports: list[Report]) -> dict[str, Estimate]:
    """Means over the rows of all seeds; an interval draws users with all their seeds."""
    import numpy as np

    user = np.concatenate([report.user for report in reports])
    scores = {name: np.concatenate([report.scores[name] for report in reports]) for name in METRICS}
    return estimate_means(user, scores, seed=0)


def make_table(rows: list[Row], against: str) -> str:
    lines = [
        "| seen items | row | Recall@10 | NDCG@10 [95%] | NDCG@10 less that of " + against + " |",
        "|---|---|---|---|---|",
    ]
    base = {row.filters: row.reports for row in rows if row.family == against}
    for row in rows:
        found, other = average(row.reports), base.get(row.filters)
        change = paired(other, row.reports, METRICS)["ndcg@10"] if other and row.family != against else None
        ndcg = found["ndcg@10"]
        shown = f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]" if change else ""
        means = f"{found['hr@10'].mean:.4f} | {ndcg.mean:.4f} [{ndcg.low:.4f}, {ndcg.high:.4f}]"
        lines.append(f"| {'left out' if row.filters else 'kept'} | {row.family} | {means} | {shown} |")
    return "\n".join(lines)


def describe_training(runs: list[Path]) -> str:
    """Seconds by the clock of each stage, the median of the runs that made it."""
    seconds: dict[str, list[float]] = {}
    for run in runs:
        for stage in ("embeddings", "sequential", "sft", "rl"):
            if manifest := read_manifest(run / stage):
                seconds.setdefault(stage, []).append(manifest.seconds)
    return "Seconds by the clock: " + ", ".join(
        f"{name} {statistics.median(each):.0f}" for name, each in seconds.items()
    )


if __name__ == "__main__":
    main()
