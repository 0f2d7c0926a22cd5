"""What the epoch loop trains: a TencentGR model with its loss and optimizer, on one device or several.

Order, negatives and dropout of a step depend on the seed and the number of the step alone, so a run that was killed
and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from genrec.errors import ArtifactError
from genrec.evaluation.metrics import item_scores
from genrec.launch import note
from genrec.runtime.curves import Record, open_curves
from genrec.runtime.epochs import CHECKPOINT, LearnerState, Metrics
from genrec.runtime.tensor_file import pack_state, unpack_state
from tencentgr.assembly import make_objective, make_optimizer, read_data, shape_of
from tencentgr.dataset import SequenceDataset, SequenceRows, collate, cut_batches, split_rows, windows
from tencentgr.model import TencentGR
from tencentgr.options import TencentGROptions
from tencentgr.processes import Processes
from tencentgr.ranking import BATCH, batches, rank_rows, targets, trim, with_trained_target
from tencentgr.schedules import Schedule
from tencentgr.step_log import LOG, StepLog
from tencentgr.warm_start import load_start

CURVES = {"loss": "Loss/train", "learning_rate": "Rate/lr", "softmax_temperature": "Loss/temperature"}
OTHER_CURVES = "Similarity"  # what else a step records: the learned weights of the mix
WAIT = 20  # steps between two readings of the losses; a reading makes the GPU wait


class TencentGRLearner:
    """Between epochs `step` is 0; within one it counts the steps done."""

    def __init__(self, options: TencentGROptions, processes: Processes):
        self.options, self.processes = options, processes
        torch.manual_seed(options.seed)
        self.data = read_data(options)
        splits = split_rows(self.data, options.seed, options.valid_share)
        self.rows = {name: with_trained_target(self.data, rows) for name, rows in splits.items()}
        self.least = 2 if options.loss == "infonce" else 1  # users of a batch: negatives are the others' items
        check_rows(self.rows, options.valid_share, processes.count, self.least)
        model = TencentGR(shape_of(options), self.data.schema).use(self.data.items, self.data.users)
        self.start = load_start(model, options.state_dict_path)
        self.model = model.to(processes.device)
        self.objective = make_objective(options, model, self.data, self.rows["train"]).to(processes.device)
        self.optimizer = make_optimizer(options, self.objective)
        pieces = windows(self.data, self.rows["train"], options.max_history)
        self.sequences = SequenceDataset(self.data, pieces, options.max_history, options.time_features)
        share = np.arange(math.ceil(len(self.sequences) / processes.count))
        self.epoch_steps = len(cut_batches(share, options.batch_size, self.least))
        self.steps = self.epoch_steps * options.num_epochs
        lengths = self.epoch_steps, options.num_epochs, options.warmup_steps, options.lr_step_size
        self.schedule = Schedule(options.lr_scheduler, *lengths)
        self.step = self.global_step = 0
        self.loss_sum = 0.0  # over the steps of this epoch

    def follow_schedules(self, ends: tuple[int, ...]) -> None:
        """The epochs after which earlier schedules of this training ended."""
        self.schedule = replace(self.schedule, ends=ends)

    # State

    def state(self) -> LearnerState:
        counters = {"step": self.step, "global_step": self.global_step, "loss_sum": self.loss_sum}
        return LearnerState(pack_state({"model": self.objective}, {"optimizer": self.optimizer}), counters)

    def load_state(self, state: LearnerState) -> None:
        try:
            unpack_state(state.tensors, {"model": self.objective}, {"optimizer": self.optimizer})
        except (RuntimeError, KeyError, ValueError) as error:
            raise ArtifactError(
                f"{self.options.models / CHECKPOINT} does not fit this model: {' '.join(str(error).split())[:300]}; "
                "--clean trains anew"
            ) from None
        self.step, self.global_step = state.counters["step"], state.counters["global_step"]
        self.loss_sum = state.counters["loss_sum"]
        note("train", f"goes on at step {self.global_step:,} of {self.steps:,}")

    # An epoch

    def train_epoch(self, epoch: int, save: Callable[[], None]) -> Metrics:
        """What is left of pass number `epoch`; the mean loss over all of it."""
        _ = self.step_log, self.record  # opened before the first step, since they forget what came after it
        self.objective.train()
        pending: list[dict[str, Any]] = []
        with tqdm(total=self.epoch_steps, initial=self.step, desc=f"epoch {epoch + 1}", leave=False,
                  disable=None if self.processes.first else True) as bar:  # fmt: skip
            for batch in self.loader(epoch):
                pending.append(self.train_step(batch, epoch))
                bar.update()
                at_end = self.step == self.epoch_steps
                saves = self.saves_here() and not at_end  # after the last step a validation comes, and then a save
                if len(pending) == WAIT or at_end or saves:
                    bar.set_postfix_str(f"loss {self.write_steps(pending, epoch):.4f}")
                    pending.clear()
                if saves:
                    save()
        mean = self.loss_sum / self.epoch_steps
        self.step, self.loss_sum = 0, 0.0
        return {"train_loss": mean}

    def saves_here(self) -> bool:
        return bool(self.options.save_steps) and self.global_step % self.options.save_steps == 0

    def loader(self, epoch: int) -> DataLoader:
        """The rest of the epoch: this process's share of one order of all sequences, in batches."""
        order = np.random.default_rng([self.options.seed, epoch]).permutation(len(self.sequences))
        count = self.processes.count
        mine = np.resize(order, math.ceil(len(order) / count) * count)[self.processes.rank :: count]
        numbers = cut_batches(mine, self.options.batch_size, self.least)
        return DataLoader(
            self.sequences,
            batch_sampler=numbers[self.step :],
            collate_fn=collate,
            num_workers=self.options.num_workers,
            pin_memory=self.processes.device.type == "cuda",
        )

    def train_step(self, batch: dict[str, Tensor], epoch: int) -> dict[str, Any]:
        options = self.options
        torch.manual_seed(step_seed(options.seed, self.global_step, self.processes.rank))
        batch = {name: values.to(self.processes.device, non_blocking=True) for name, values in trim(batch).items()}
        rate = options.learning_rate * self.schedule.rate(epoch, self.global_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        progress = self.schedule.progress(self.global_step)
        with self.autocast():
            loss = self.wrapped(batch, progress)
        self.optimizer.zero_grad()
        loss.backward()
        if options.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.objective.parameters(), options.grad_clip)
        self.optimizer.step()
        self.step, self.global_step = self.step + 1, self.global_step + 1
        learned = self.model.similarity.learned()
        if self.objective.log_temperature is not None:
            learned["softmax_temperature"] = self.objective.log_temperature.detach().exp()
        elif options.temperature_end is not None:
            learned["softmax_temperature"] = self.objective.temperature(progress)
        return {"global_step": self.global_step, "loss": loss.detach(), "learning_rate": rate, **learned}

    @cached_property
    def wrapped(self) -> torch.nn.Module:
        """The objective, with gradients averaged over the processes."""
        return self.processes.wrap(self.objective)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.options.bf16)

    # What is recorded

    @cached_property
    def step_log(self) -> StepLog | None:
        return StepLog(self.options.log_dir / LOG, self.global_step) if self.processes.first else None

    @cached_property
    def record(self) -> Record:
        tracker = self.options.tracker if self.processes.first else "none"
        return open_curves(tracker, self.options.tb_dir, self.options.models.resolve().name, self.global_step)

    def write_steps(self, entries: list[dict[str, Any]], epoch: int) -> float:
        """Read the losses and write the steps down; the last loss. A loss that is no number ends the run."""
        last = math.nan
        for entry in entries:
            values = {name: float(value) for name, value in entry.items()}
            step, last = int(values.pop("global_step")), values["loss"]
            if not math.isfinite(last):
                warmer = f", raise --temperature ({temperature})" if (temperature := self.options.temperature) else ""
                raise ArtifactError(
                    f"the loss is {last} at step {step}; lower --learning_rate ({self.options.learning_rate}){warmer} "
                    "or look for values that are no numbers in the data"
                )
            self.loss_sum += last
            if self.step_log is not None:
                self.step_log.write({"global_step": step, **values, "epoch": epoch + 1, "time": time.time()})
                self.record({CURVES.get(name, f"{OTHER_CURVES}/{name}"): value for name, value in values.items()}, step)
        return last

    def write_validation(self, entry: Metrics) -> None:
        """Called on the first process only."""
        step = self.global_step
        self.step_log.write({"global_step": step, **entry, "time": time.time()})
        curves = {"Loss/valid": "valid_loss", "HR@10/valid": "hr@10", "NDCG@10/valid": "ndcg@10"}
        self.record({curve: entry[name] for curve, name in curves.items()}, step)

    # Validation

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Loss as training takes it, and full-ranking HR@10 and NDCG@10, on the held-out users, to six digits."""
        options, rows = self.options, self.rows["valid"]
        torch.manual_seed(options.seed)
        self.objective.eval()
        losses, positions = [], []
        dataset = SequenceDataset(self.data, rows, options.max_history, options.time_features)
        size = (
            options.batch_size if options.loss == "infonce" else BATCH
        )  # how many negatives it has hangs on the batch
        for batch in batches(dataset, size, self.least):
            batch = {name: values.to(self.processes.device) for name, values in batch.items()}
            positions.append(int((batch["next_token_type"] > 0).sum()))
            with self.autocast():
                losses.append(float(self.objective(batch, self.schedule.progress(self.global_step))) * positions[-1])
        ranking = rank_rows(self.model, self.data, rows, options.time_features, k=10)
        scores = item_scores(ranking.listed, targets(self.data, rows))
        metrics = {"valid_loss": sum(losses) / sum(positions), "auc": float(ranking.auc.mean())}
        metrics |= {name: float(scores[name].mean()) for name in ("hr@10", "ndcg@10")}
        return {name: round(value, 6) for name, value in metrics.items()}


def check_rows(rows: dict[str, SequenceRows], valid_share: float, processes: int, batch: int) -> None:
    """Something to learn from in every process, and something to choose the best epoch by; `batch` sequences at least
    make a batch."""
    for name, least in {"train": processes * batch, "valid": batch}.items():
        if len(rows[name]) < least:
            raise ArtifactError(
                f"{len(rows[name])} {name} sequences with a target that training knows, at least {least} needed; "
                f"the data have too few users with two interactions, or --valid_share {valid_share} leaves too few"
            )


def step_seed(seed: int, step: int, rank: int) -> int:
    """One of 2^63 seeds for each step and process."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
