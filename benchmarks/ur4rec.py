"""UR4Rec on MovieLens-100K: what each expert adds to SASRec, and adaptive against fixed alternation.

    python benchmarks/ur4rec.py --data_dir DIR --plots FILE.omdb.jsonl --output_dir outputs/ur4rec_benchmark
    python benchmarks/ur4rec.py ... --report          # the tables from what is there

A run for each seed and system, each in its own directory; killed, the same command goes on. Every system of a seed
starts from that seed's SASRec, so a difference is what was added. Whole catalogue, items of the user's past left out.
"""

from __future__ import annotations

import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import paired
from genrec.artifacts import RESULTS, read_json, write_json
from genrec.cli import run_program
from genrec.config import Section, knob
from UR4Rec.options import read_options

SYSTEMS = {  # name -> experts beside SASRec; there are no posters here, so "all" is without images
    "description": ("description",),
    "preference": ("preference",),
    "all": ("preference", "description"),
    "fixed": ("preference", "description"),  # "all", but the modules take turns step by step
    "ids": (),  # the control: the same retriever without any text
}
SHAPE = {"sasrec_hidden_dim": 64, "sasrec_num_heads": 2, "retriever_output_dim": 64, "dropout": 0.3}
RATES = {"sasrec_lr": 2e-3, "retriever_lr": 1e-3}
EPOCHS = {"pretrain_sasrec": 40, "pretrain_retriever": 20, "joint_finetune": 4}
PATIENCE = {"pretrain_sasrec": 5, "pretrain_retriever": 3, "joint_finetune": 0}  # 0 = all epochs
METRICS = ("ndcg@10", "hr@10")
SystemName = Literal["description", "preference", "all", "fixed", "ids"]
TRAINING, CURVE = "training.json", "curve"


class BenchmarkOptions(Section):
    data_dir: Path = knob(Path("raw"), "where MovieLens-100K lies or is put")
    plots: Path | None = knob(None, "JSON lines with movie_id and plot")
    output_dir: Path = knob(Path("outputs/ur4rec_benchmark"), "one directory a seed and system")
    seeds: list[int] = knob([0, 1, 2, 3, 4], "a run of each")
    systems: list[SystemName] = knob(list(SYSTEMS), "what is trained")
    report: bool = knob(False, "only the tables of what is there")


class Bench:
    """Data and vectors, read once."""

    def __init__(self, data_dir: Path, plots: Path, output_dir: Path):
        from UR4Rec.data.dataset_loader import load_ml_100k
        from UR4Rec.data.features import encode_descriptions, item_features
        from UR4Rec.data.multimodal_dataset import create_dataloaders

        self.output_dir = output_dir
        self.item_metadata, self.user_sequences, _ = load_ml_100k(data_dir, plots)
        self.features = item_features(encode_descriptions(self.item_metadata, cache=output_dir / "vectors"))
        self.loaders = create_dataloaders(self.user_sequences, self.item_metadata, windows=True)

    @cached_property
    def preferences(self):
        """There is no language model here: fixed sentences on the titles and genres liked so far."""
        from UR4Rec.data.snapshots import plain_snapshots

        return plain_snapshots(self.item_metadata, self.user_sequences, cache=self.output_dir / "vectors")

    def run(self, seed: int, systems: list[str]) -> None:
        base = self.output_dir / str(seed)
        sasrec = base / "sasrec"
        self.train(seed, "ids", "pretrain_sasrec", None, sasrec, "sasrec")
        for system in systems:
            alone = base / f"{'all' if system == 'fixed' else system}-retriever"
            self.train(seed, system, "pretrain_retriever", sasrec, alone, "retriever")
            self.train(seed, system, "joint_finetune", alone, base / system, "fused")

    def train(self, seed, system, stage, start: Path | None, directory: Path, scorer: str) -> None:
        """Train one stage from the weights in `start`, and rank the test rows by `scorer`."""
        from UR4Rec.evaluation import evaluate_full, write_full
        from UR4Rec.models.joint_trainer import JointTrainer
        from UR4Rec.models.stages import fit_stages

        if (directory / TRAINING).exists():
            return
        begin = time.process_time()
        model = self.model(seed, system, start)
        trainer = JointTrainer(model, seed=seed, use_adaptive_alternating=system != "fixed", **RATES)
        result = fit_stages(trainer, *self.loaders[:2], {stage: EPOCHS[stage]}, PATIENCE[stage], directory)
        test = self.loaders[2]
        ranking = evaluate_full(scorer, lambda batch: trainer.score(batch, scorer), test, self.item_metadata)
        write_full(ranking, test, self.item_metadata, directory, seed)
        content = {
            CURVE: result.curve,
            "best_valid": result.best,
            "switches": trainer.adaptive_alternating.get_stats(),
        }
        write_json(directory / TRAINING, {**content, "cpu_seconds": round(time.process_time() - begin, 1)})
        print(f"{directory}: valid {result.best:.4f}, {time.process_time() - begin:.0f} CPU s", flush=True)

    def model(self, seed: int, system: str, start: Path | None):
        """A model of the system; what `start` holds of it is taken over: all, or SASRec alone."""
        import torch

        from genrec.runtime.epochs import HEADER
        from genrec.runtime.tensor_file import read_tensors
        from UR4Rec.models.stages import BEST
        from UR4Rec.models.ur4rec_v2 import UR4RecV2

        torch.manual_seed(seed)
        experts, size = SYSTEMS[system], len(self.item_metadata) + 1
        preferences = self.preferences if "preference" in experts else None
        model = UR4RecV2(size, features=self.features, preferences=preferences, experts=experts, **SHAPE)
        if start is not None:
            weights, _ = read_tensors(start / BEST, HEADER)
            own = {
                name: value for name, value in weights.items() if start.name != "sasrec" or name.startswith("sasrec.")
            }
            model.load_state_dict(model.state_dict() | own)
        return model


def main() -> None:
    options = read_options("ur4rec.py", __doc__, BenchmarkOptions)
    if not options.report:
        bench = Bench(options.data_dir, options.plots, options.output_dir)
        for seed in options.seeds:
            bench.run(seed, options.systems)
    print(report(options.output_dir, options.seeds))


def report(directory: Path, seeds: list[int]) -> str:
    from genrec.tables import render_table

    done = [directory / str(seed) for seed in seeds if (directory / str(seed) / "sasrec" / TRAINING).exists()]
    if not done:
        return f"no seed is finished in {directory}"
    rows = [["system", *METRICS, "ndcg@10 - SASRec's", "relative", "hr@10 - SASRec's", "relative", "seeds ahead"]]
    for system in ("sasrec", *SYSTEMS):
        if finished := [base for base in done if (base / system / TRAINING).exists()]:
            rows.append(row(finished, system))
    both = [base for base in done if all((base / name / TRAINING).exists() for name in ("all", "fixed"))]
    return f"{len(done)} seeds\n\n{render_table(rows)}\n\n{render_table(alternation(both))}"


def row(bases: list[Path], system: str) -> list[str]:
    """Means over seeds, and paired differences with intervals over users, a user's seeds drawn together."""
    import numpy as np

    from genrec.evaluation.report import read_report

    ours, plain = ([read_report(base / name) for base in bases] for name in (system, "sasrec"))
    scores = np.array([[each.scores[name].mean() for name in METRICS] for each in ours])  # (seeds, metrics)
    before = np.array([[each.scores[name].mean() for name in METRICS] for each in plain])
    cells = [system, *(f"{mean:.4f}" for mean in scores.mean(axis=0))]
    if system == "sasrec":
        return cells + [""] * 5
    for metric, each in enumerate(paired(plain, ours, METRICS).values()):
        relative = each.mean / before[:, metric].mean()
        cells += [f"{each.mean:+.4f} [{each.low:+.4f}, {each.high:+.4f}]", f"{relative:+.1%}"]
    return [*cells, f"{(scores > before)[:, 0].sum()} of {len(bases)}"]


def alternation(bases: list[Path]) -> list[list[str]]:
    """Steps of joint_finetune until the fused training loss is where the worse of the two ends; a row a seed."""
    rows = [["seed", "same loss", "steps adaptive", "steps fixed", "switches", "ndcg@10 adaptive", "ndcg@10 fixed"]]
    for base in bases:
        adaptive, fixed = (read_json(base / name / TRAINING) for name in ("all", "fixed"))
        curves = [[(epoch["steps"], epoch["fused_loss"]) for epoch in each[CURVE]] for each in (adaptive, fixed)]
        goal = max(curve[-1][1] for curve in curves)
        steps = [str(next(step for step, loss in curve if loss <= goal)) for curve in curves]
        switches = f"{adaptive['switches']['switch_count']} / {fixed['switches']['switch_count']}"
        scores = [read_json(base / name / RESULTS)["metrics"]["ndcg@10"]["mean"] for name in ("all", "fixed")]
        rows.append([base.name, f"{goal:.4f}", *steps, switches, *(f"{score:.4f}" for score in scores)])
    return rows


if __name__ == "__main__":
    run_program(__file__, main)
