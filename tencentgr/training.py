"""Training: one loop for every loss, on one device or several, that goes on where a kill left it.

Order, negatives and dropout of a step depend on the seed and the number of the step alone, so a run that was killed
and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from genrec.artifacts import read_json, remove_directories, write_json
from genrec.config import result_knobs
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import item_scores
from genrec.evaluation.report import results, table
from genrec.launch import note
from genrec.runtime.tensor_file import load_moments, moments, part, prefixed, read_state, write_tensors
from tencentgr.assembly import fingerprint, load, make_objective, make_optimizer, shape_of
from tencentgr.checkpoints import BEST, CARD, CONFIG, load_model, make_card, save_best, save_checkpoint
from tencentgr.curves import LOG, Record, StepLog, open_curves
from tencentgr.dataset import SequenceDataset, collate, report_lines, split_rows, windows
from tencentgr.model import TencentGR
from tencentgr.options import Options
from tencentgr.processes import Processes, start_processes
from tencentgr.ranking import batches, rank_rows, report, targets, trim, with_known_target, write_evaluation

STATE = "training_state.safetensors"  # weights, moments and progress: what resuming needs
RUN = "run.json"  # the knobs and the data that a run in these directories was started with
HALVE_EVERY = 10  # epochs, of the step schedule
CURVES = {"loss": "Loss/train", "lr": "Rate/lr", "softmax_temperature": "Loss/temperature"}  # others: Similarity/
WAIT = 20  # steps between two looks at the losses; looking makes the GPU wait


@dataclass
class Progress:
    """How far training is; saved with every state."""

    epoch: int = 0
    step: int = 0  # in the epoch
    global_step: int = 0
    best_epoch: int = -1
    best_ndcg: float = -1.0
    curve: list[dict[str, float]] = field(default_factory=list)  # what valid said after each epoch
    finished: bool = False


def train(options: Options) -> None:
    processes = start_processes(options.device)
    try:
        Training(options, processes).run()
    finally:
        processes.end()


class Training:
    def __init__(self, options: Options, processes: Processes):
        self.options, self.processes = options, processes
        torch.manual_seed(options.seed)
        self.data = load(options)
        splits = split_rows(self.data, options.seed, options.valid_share)
        self.rows = {name: with_known_target(self.data, rows) for name, rows in splits.items()}
        if not len(self.rows["train"]) >= processes.count:
            raise ArtifactError(f"{len(self.rows['train'])} training sequences for {processes.count} process(es)")
        shape = shape_of(options)
        self.model = TencentGR(shape, self.data.schema).use(self.data.items, self.data.users).to(processes.device)
        objective = make_objective(options, self.model, self.data, self.rows["train"]).to(processes.device)
        self.objective = objective
        self.optimizer = make_optimizer(options, objective)
        pieces = windows(self.data, self.rows["train"], options.maxlen)
        self.sequences = SequenceDataset(self.data, pieces, options.maxlen, options.time_features)
        self.epoch_steps = math.ceil(math.ceil(len(self.sequences) / processes.count) / options.batch_size)
        self.steps = self.epoch_steps * options.num_epochs
        self.progress = Progress()

    def run(self) -> None:
        if self.processes.first:
            self.begin()
        self.processes.wait()
        self.resume()
        if self.progress.finished:
            note("train", f"{self.options.models / BEST}.pt is finished; --clean trains again")
            return
        self.wrapped = self.processes.wrap(self.objective)
        self.log, self.record = self.open_logs()
        while self.progress.epoch < self.options.num_epochs and not self.stopped():
            self.train_epoch()
            self.end_epoch()
        if self.processes.first:
            self.finish()
        self.processes.wait()

    def begin(self) -> None:
        """Directories that hold another run make room for this one; its files are kept beside."""
        options, described = self.options, {"processes": self.processes.count, "data": fingerprint(self.data)}
        knobs = result_knobs(options) | described
        for line in report_lines(self.data.report) if self.options.source == "tencentgr" else ():
            note("data", line)
        if options.source == "tencentgr" and options.semantic and not self.data.schema.semantic:
            note(
                "data",
                "warning: no semantic_id_dict.json, so there is no semantic-id feature; train_rqvae.py writes it",
            )
        if options.clean:
            put_away(options, keep=False)
        elif (options.models / RUN).exists() and read_json(options.models / RUN) != knobs:
            note("train", f"another run's files moved to {put_away(options, keep=True)}")
        for directory in (options.models, options.log_dir):
            directory.mkdir(parents=True, exist_ok=True)
        write_json(options.models / RUN, knobs)
        rows = ", ".join(f"{len(rows):,} {name}" for name, rows in self.rows.items())
        params = sum(parameter.numel() for parameter in self.model.parameters())
        note(
            "train", f"{rows} sequences, {self.data.schema.num_items:,} items, {params:,} weights, {self.steps:,} steps"
        )

    def resume(self) -> None:
        path = self.options.models / STATE
        if not path.exists():
            return
        tensors, progress = read_state(path, CARD)
        self.objective.load_state_dict(part("model.", tensors))
        load_moments("optimizer.", tensors, self.optimizer)
        self.progress = Progress(**progress)
        if self.processes.first and not self.progress.finished:
            note("train", f"goes on at step {self.progress.global_step:,} of {self.steps:,}")

    def open_logs(self) -> tuple[StepLog | None, Record]:
        if not self.processes.first:
            return None, lambda step, values: None
        done = self.progress.global_step
        log = StepLog(self.options.log_dir / LOG, done)
        return log, open_curves(self.options.tracker, self.options.tb_dir, self.options.models.resolve().name, done)

    def stopped(self) -> bool:
        patience = self.options.early_stop
        return patience > 0 and self.progress.epoch - self.progress.best_epoch > patience

    # One epoch.

    def train_epoch(self) -> None:
        options, progress = self.options, self.progress
        self.objective.train()
        seen: list[dict[str, Any]] = []
        with tqdm(total=self.epoch_steps, initial=progress.step, desc=f"epoch {progress.epoch + 1}",
                  disable=None if self.processes.first else True) as bar:  # fmt: skip
            for batch in self.loader():
                seen.append(self.train_step(batch))
                bar.update()
                if len(seen) == WAIT or progress.step == self.epoch_steps:
                    bar.set_postfix_str(f"loss {self.tell(seen):.4f}")
                    seen.clear()
                if options.save_steps and progress.global_step % options.save_steps == 0:
                    self.tell(seen)
                    seen.clear()
                    self.save_state()
        progress.epoch, progress.step = progress.epoch + 1, 0

    def loader(self) -> DataLoader:
        """The rest of the epoch: this process's share of one order of all sequences, in batches."""
        order = np.random.default_rng([self.options.seed, self.progress.epoch]).permutation(len(self.sequences))
        count, size = self.processes.count, self.options.batch_size
        mine = np.resize(order, math.ceil(len(order) / count) * count)[self.processes.rank :: count]
        found = [mine[begin : begin + size].tolist() for begin in range(0, len(mine), size)]
        return DataLoader(
            self.sequences,
            batch_sampler=found[self.progress.step :],
            collate_fn=collate,
            num_workers=self.options.num_workers,
            pin_memory=self.processes.device.type == "cuda",
        )

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        progress, options = self.progress, self.options
        torch.manual_seed(step_seed(options.seed, progress.global_step, self.processes.rank))
        batch = {name: values.to(self.processes.device, non_blocking=True) for name, values in trim(batch).items()}
        rate = options.lr * self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.autocast():
            loss = self.wrapped(batch, progress.global_step / self.steps)
        self.optimizer.zero_grad()
        loss.backward()
        if options.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.objective.parameters(), options.grad_clip)
        self.optimizer.step()
        progress.step, progress.global_step = progress.step + 1, progress.global_step + 1
        learned = self.model.similarity.learned()
        if self.objective.log_temperature is not None:
            learned["softmax_temperature"] = self.objective.temperature.detach().clone()
        return {"global_step": progress.global_step, "loss": loss.detach(), "lr": rate, **learned}

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.options.bf16)

    def rate(self) -> float:
        """Share of the peak rate at the coming step."""
        step, options = self.progress.global_step, self.options
        warm = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
        if options.lr_scheduler == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return warm * (0.5 ** (self.progress.epoch // HALVE_EVERY) if options.lr_scheduler == "step" else 1.0)

    def tell(self, seen: list[dict[str, Any]]) -> float:
        """Write steps down; the last loss. A loss that is no number ends the run."""
        last = math.nan
        for entry in seen:
            values = {name: float(value) for name, value in entry.items()}
            step, last = int(values.pop("global_step")), values["loss"]
            if not math.isfinite(last):
                raise ArtifactError(
                    f"the loss is {last} at step {step}; lower --lr ({self.options.lr}), raise --temperature "
                    f"({self.options.temperature}) or look for values that are no numbers in the data"
                )
            if self.log is not None:
                self.log.write({"global_step": step, **values, "epoch": self.progress.epoch + 1, "time": time.time()})
                self.record(step, {CURVES.get(name, f"Similarity/{name}"): value for name, value in values.items()})
        return last

    # After an epoch.

    def end_epoch(self) -> None:
        """Valid, the best model, the checkpoint, the state. All but the first process wait."""
        if self.processes.first:
            found = self.validate()
            self.progress.curve.append(found)
            if found["ndcg@10"] > self.progress.best_ndcg:
                self.progress.best_epoch, self.progress.best_ndcg = self.progress.epoch - 1, found["ndcg@10"]
                save_best(self.options.models, self.model, self.card(found))
            if self.options.save_freq and self.progress.epoch % self.options.save_freq == 0:
                save_checkpoint(self.options.models, self.model, self.card(found))
            self.save_state()
            self.tell_valid(found)
        self.progress.best_ndcg = self.processes.agree(self.progress.best_ndcg)
        self.progress.best_epoch = int(self.processes.agree(self.progress.best_epoch))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and full-ranking HR@10 and NDCG@10 on the held-out users, to six digits."""
        options, rows = self.options, self.rows["valid"]
        torch.manual_seed(options.seed)
        self.objective.eval()
        losses, positions = [], []
        for batch in batches(SequenceDataset(self.data, rows, options.maxlen, options.time_features)):
            batch = {name: values.to(self.processes.device) for name, values in batch.items()}
            positions.append(int((batch["next_token_type"] > 0).sum()))
            with self.autocast():
                losses.append(float(self.objective(batch, self.progress.global_step / self.steps)) * positions[-1])
        ranking = rank_rows(self.model, self.data, rows, options.time_features, k=10)
        scores = item_scores(ranking.listed, targets(self.data, rows))
        found = {"valid_loss": sum(losses) / sum(positions), "auc": float(ranking.auc.mean())}
        found |= {name: float(scores[name].mean()) for name in ("hr@10", "ndcg@10")}
        return {name: round(value, 6) for name, value in found.items()}

    def card(self, found: dict[str, float]) -> dict[str, Any]:
        standing = {"epoch": self.progress.epoch, "global_step": self.progress.global_step, **found}
        return make_card(self.model, self.options.model_dump(mode="json"), **standing)

    def save_state(self) -> None:
        if self.processes.first:
            tensors = prefixed("model.", self.objective.state_dict()) | moments("optimizer.", self.optimizer)
            write_tensors(self.options.models / STATE, tensors, CARD, asdict(self.progress))

    def tell_valid(self, found: dict[str, float]) -> None:
        step = self.progress.global_step
        self.log.write({"global_step": step, "epoch": self.progress.epoch, **found, "time": time.time()})
        self.record(
            step, {"Loss/valid": found["valid_loss"], "HR@10/valid": found["hr@10"], "NDCG@10/valid": found["ndcg@10"]}
        )
        best = " (best)" if self.progress.best_epoch == self.progress.epoch - 1 else ""
        said = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        note("train", f"epoch {self.progress.epoch}: {said}{best}")

    def finish(self) -> None:
        """The best model on the last split the data have (test, else valid), through the shared evaluator."""
        model, _ = load_model(self.options.models / f"{BEST}.safetensors", self.model.shape, self.model.schema)
        model = model.use(self.data.items, self.data.users).to(self.processes.device)
        split = "test" if "test" in self.rows else "valid"
        ranking = rank_rows(model, self.data, self.rows[split], self.options.time_features)
        counts = self.data.popularity(self.rows["train"])
        found = report("tencentgr", self.data, self.rows[split], split, ranking, counts)
        directory = self.options.log_dir / "evaluation"
        write_evaluation(found, directory, self.options.seed)
        content = results(found, self.options.seed)
        self.progress.finished = True
        self.save_state()
        auc, score = (content["metrics"][name]["mean"] for name in ("auc", "score"))
        print(
            f"\n{table([content])}\nAUC {auc:.4f}, competition score (.31 HR@10 + .69 NDCG@10) {score:.4f}", flush=True
        )
        if split == "valid":
            note("train", "the same users chose the best epoch; these data have no test split of their own")
        note(
            "train",
            f"best of epoch {self.progress.best_epoch + 1}: {self.options.models / BEST}.pt; {directory}/results.json",
        )


def step_seed(seed: int, step: int, rank: int) -> int:
    """One of 2^63 seeds for each step and process."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def put_away(options: Options, keep: bool) -> Path | None:
    """Move what a run wrote into <directory>/earlier-<n>/, or remove it."""
    target = None
    for directory in dict.fromkeys((options.models, options.log_dir, options.tb_dir)):
        written = [path for path in sorted(directory.glob("*")) if is_ours(path)]
        if keep and written:
            target = next(
                directory / f"earlier-{n}" for n in range(1, 10_000) if not (directory / f"earlier-{n}").exists()
            )
            target.mkdir()
        for path in written:
            if keep:
                shutil.move(path, target / path.name)
            else:
                remove_directories(path) if path.is_dir() else path.unlink()
    return target


def is_ours(path: Path) -> bool:
    names = (f"{BEST}.*", STATE, RUN, CONFIG, LOG, "evaluation", "global_step*", "events.out.tfevents.*", "run-*")
    return any(path.match(name) for name in names)
