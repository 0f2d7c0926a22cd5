"""Which of TencentGR's parts help: each against the same baseline, on several data, with several seeds.

    python benchmarks/tencentgr_ablations.py --out OUT --generated DIR --run industrial=RUN --run movielens=RUN
    python benchmarks/tencentgr_ablations.py --out OUT --generated DIR --summary       (the table so far)

Reads   a directory of make_sample.py (with a semantic_id_dict.json of train_rqvae.py), and prepared runs with SIDs
Writes  OUT/<data>/<variant>/seed<n>/ as main.py does; with --summary OUT/ablations.json. What is finished is not
        done again, so several calls may share the work (--seeds, --run)

The difference of a variant is taken user by user at the same seed and split, over all seeds together; its interval
draws users with replacement, together with all their rows of all seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import paired
from genrec.artifacts import write_json
from genrec.evaluation.report import read_report
from genrec.tables import render_table

METRICS = ("ndcg@10", "hr@10", "auc")
SAME = "--tracker none --save_freq 0 --hidden_size 32 --batch_size 64 --learning_rate 0.003 --no-semantic".split()
PER_DATA = {  # the same passes for every variant; the rate falls to zero over them
    "generated": "--num_epochs 6 --num_layers 1 --max_history 50".split(),
    "industrial": "--num_epochs 6 --num_layers 1 --max_history 20".split(),
    "movielens": "--num_epochs 8 --num_layers 1 --max_history 50".split(),
}
VARIANTS = {
    "baseline (BCE, uniform, dot, post-norm)": [],
    "in-batch InfoNCE": ["--loss", "infonce"],
    "sampled softmax, 256": ["--loss", "sampled", "--num_negatives", "256", "--temperature", "0.1"],
    "full softmax": ["--loss", "full", "--temperature", "0.1"],
    "full softmax, temperature 1": ["--loss", "full"],
    "adaptive similarity": ["--use_adaptive_similarity"],
    "smart negatives": ["--use_smart_sampling"],
    "smart negatives, curriculum": ["--use_smart_sampling", "--use_curriculum_learning"],
    "dynamic negatives, 4": ["--dynamic_candidates", "4"],
    "semantic IDs": ["--semantic"],
    "pre-norm": ["--norm_first"],
    "InfoNCE + semantic IDs": ["--loss", "infonce", "--semantic"],
    "full softmax + semantic IDs": ["--loss", "full", "--semantic"],
    "full softmax + semantic IDs of two grains": ["--loss", "full", "--semantic", "--semantic_files", "{grains}"],
    "full softmax, falling temperature": ["--loss", "full", "--temperature_end", "0.1"],
    "adaptive + smart + pre-norm": "--use_adaptive_similarity --use_smart_sampling --norm_first".split(),
}
BASELINE = next(iter(VARIANTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where all runs go")
    parser.add_argument("--generated", type=Path, help="a directory of make_sample.py")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=DIR", help="a prepared run, repeatable")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS), help="default all")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    parser.add_argument("--grains", default="", help="semantic_id_dict.json of another grain, of the generated data")
    asked = parser.parse_args()
    sources = {"generated": ["--data_dir", str(asked.generated)]} if asked.generated else {}
    for name, _, directory in (text.partition("=") for text in asked.run):
        sources[name] = ["--source", "run", "--run_dir", directory]
    if not asked.summary:
        for seed in asked.seeds:
            for variant in dict.fromkeys((BASELINE, *asked.variants)):
                for name, flags in sources.items():
                    if needs_grains(variant) and (not asked.grains or name != "generated"):
                        continue  # a run of genrec has one kind of semantic IDs
                    train_one(asked.out, name, flags, variant, seed, asked.grains)
    else:
        summarise(asked.out, list(sources), asked.seeds)


def place(out: Path, data: str, variant: str, seed: int) -> Path:
    return out / data / "".join(c if c.isalnum() else "_" for c in variant) / f"seed{seed}"


def needs_grains(variant: str) -> bool:
    return "{grains}" in VARIANTS[variant]


def train_one(out: Path, data: str, source: list[str], variant: str, seed: int, grains: str) -> None:
    from tencentgr.options import parse_strict
    from tencentgr.training import train

    directory = place(out, data, variant, seed)
    if (directory / "evaluation/results.json").exists():
        return
    print(f"\n=== {data}, {variant}, seed {seed}", flush=True)
    length = PER_DATA.get(data, PER_DATA["industrial"])
    where = ["--log_dir", str(directory), "--tb_dir", str(directory), "--seed", str(seed)]
    train(parse_strict([*source, *SAME, *length, *where, *(flag.format(grains=grains) for flag in VARIANTS[variant])]))


def summarise(out: Path, data: list[str], seeds: list[int]) -> None:
    table = {name: {v: row for v in VARIANTS if (row := measured(out, name, v, seeds))} for name in data}
    write_json(out / "ablations.json", table)
    for name, rows in table.items():
        lines = [["variant", "seeds", *METRICS, "NDCG@10 - baseline  [95%]", "AUC - baseline  [95%]"]]
        for variant, row in rows.items():
            means = [f"{row['mean'][metric]:.4f}" for metric in METRICS]
            lines.append([variant, str(row["seeds"]), *means, shown(row, "ndcg@10"), shown(row, "auc")])
        print(f"\n{name}\n{render_table(lines)}")


def shown(row: dict, metric: str) -> str:
    if metric not in row["difference"]:
        return ""
    mean, low, high = (row["difference"][metric][key] for key in ("mean", "low", "high"))
    return f"{mean:+.4f}  [{low:+.4f}, {high:+.4f}]"


def measured(out: Path, data: str, variant: str, seeds: list[int]) -> dict | None:
    """Means over the seeds that both this variant and the baseline have, and the paired differences."""
    pairs = []
    for seed in seeds:
        directories = [place(out, data, name, seed) / "evaluation" for name in (BASELINE, variant)]
        if all((directory / "results.json").exists() for directory in directories):
            pairs.append([read_report(directory) for directory in directories])
    if not pairs:
        return None
    mean = {metric: float(np.mean([report.scores[metric].mean() for _, report in pairs])) for metric in METRICS}
    differences = {} if variant == BASELINE else paired(*zip(*pairs, strict=True), METRICS)
    return {"seeds": len(pairs), "mean": mean, "difference": {m: vars(e) for m, e in differences.items()}}


if __name__ == "__main__":
    main()
