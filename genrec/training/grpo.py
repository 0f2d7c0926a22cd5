"""GRPO on semantic IDs: TRL's GRPOTrainer with its rollouts, its log-probabilities and its batches made for groups.

B prompts, G answers a prompt, P prompt tokens, L levels

Four seams of TRL 1.16 are used, nothing of it is copied:
rollout_func                         constrained beams or sampling instead of model.generate
reward functions                     item numbers arrive as columns, never as text
_get_per_token_logps_and_entropies   one row a group, the prompt read once (genrec.models.policy)
_generate_and_score_completions      what it returns is folded to (B, G, ...), so that shuffling and micro-batches move
                                     whole groups; _compute_loss unfolds it again
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from genrec.config import Rl, Run
from genrec.launch import note
from genrec.models.adapters import lora_config, merge_adapters
from genrec.models.language import load_pretrained
from genrec.models.policy import answer_scores
from genrec.runtime.training_record import TrainingRecord
from genrec.training.checkpoints import SealedCheckpoints, check_best, checkpoint_path, find_newest_checkpoint
from genrec.training.finite_steps import FiniteSteps
from genrec.training.grpo_arguments import grpo_arguments
from genrec.training.health import Floor, KlLimit
from genrec.training.resuming import OrderedEpochs, Patience, derive_seed
from genrec.training.rewards import Groups, Knowledge, score_groups
from genrec.training.rollout import Answers, roll_out
from genrec.training.screen import RlScreen, show_on
from genrec.training.validation import VALID_METRIC, DecodingEvaluation, loss_curve, validation_curve

REFERENCE = "reference.safetensors"  # in a checkpoint, where the reference follows the policy


def make_reward_function(name: str, knowledge: Knowledge, group: int) -> Callable[..., list[float]]:
    """A reward as TRL calls it: columns of B * G values in, as many numbers out."""

    def reward(prompts, completions, completion_ids, item, rank, target, history, **_) -> list[float]:
        groups = Groups(
            np.array(item).reshape(-1, group),
            np.array(rank).reshape(-1, group),
            np.array(target)[::group],
            np.array(history)[::group],
        )
        return score_groups(name, groups, knowledge).ravel().tolist()

    reward.__name__ = name
    return reward


class GroupTrainer(OrderedEpochs, FiniteSteps, SealedCheckpoints, DecodingEvaluation, GRPOTrainer):
    """GRPOTrainer whose unit is the group; `evaluate` decodes the valid sample and scores it."""

    stage = "rl"

    def __init__(
        self,
        model: PreTrainedModel,
        args: GRPOConfig,
        settings: Rl,
        answers: Answers,
        knowledge: Knowledge,
        decode: Callable[[], dict[str, float]],
        **kwargs,
    ):
        self.settings, self.answers, self.decode = settings, answers, decode
        self.seconds = {"rollout": 0.0, "reference": 0.0, "update": 0.0}
        rewards = [make_reward_function(name, knowledge, settings.num_generations) for name in settings.reward_type]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")  # the seam is pinned and tested
            rollout = {"rollout_func": lambda prompts, trainer: trainer.roll(prompts)}
            super().__init__(model, rewards, args, **rollout, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Tensor]:
        """Rows of a generation batch, G times each -> tensors (B, G, ...) that the loss needs."""
        self.rows = inputs[:: self.num_generations]
        batch = fold_groups(super()._generate_and_score_completions(inputs), self.num_generations)
        return self.hide_dead_groups(batch) if self.settings.mask_all_zero else batch

    def roll(self, prompts: list[list[int]]) -> dict[str, list]:
        """TRL's rollout_func: every prompt comes G times, in the order of `self.rows`, and goes with its G answers."""
        began, G = time.perf_counter(), self.num_generations
        prompts = prompts[::G]
        target = np.array([row["target"] for row in self.rows])
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        with self.accelerator.autocast():
            item = roll_out(model, self.answers, prompts, target, self.settings, self.generator())  # (B, G)
        model.train()
        self.count_hits(item == target[:, None])
        self.seconds["rollout"] += time.perf_counter() - began
        return {
            "prompt_ids": [prompt for prompt in prompts for _ in range(G)],
            "completion_ids": [self.answers.tokens(one) for one in item.ravel()],
            "logprobs": None,
            "item": item.ravel().tolist(),
            "rank": list(range(G)) * len(prompts),
        }

    def generator(self) -> torch.Generator:
        """Noise that follows from seed, step and process alone: a resumed run draws what the killed one would have."""
        seed = derive_seed(self.args.seed, self.state.global_step, self.accelerator.process_index)
        return torch.Generator(device=self.accelerator.device).manual_seed(seed)

    def count_hits(self, hit: np.ndarray) -> None:
        """Share of groups that hold their target, in all and by task."""
        held = hit.any(axis=1)
        for name in {row["task"] for row in self.rows}:
            of_task = np.array([row["task"] == name for row in self.rows])
            self._log_metric(f"hit_in_group/{name}", float(held[of_task].mean()))
        self._log_metric("hit_in_group", float(held.mean()))

    def hide_dead_groups(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Groups without any advantage hidden from the loss by their completion mask.

        Equal rewards leave equal advantages, which need not be 0: their mean is rounded.
        """
        alive = batch["advantages"].amax(dim=1) > batch["advantages"].amin(dim=1)  # (B,)
        batch["completion_mask"] = batch["completion_mask"] * alive[:, None, None]
        batch["num_items_in_batch"] = self.accelerator.gather(batch["completion_mask"].sum()).sum()
        return batch

    def _compute_loss(self, model, inputs: dict[str, Tensor]) -> Tensor:
        return super()._compute_loss(model, unfold_groups(inputs))

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **_
    ):
        """Log-probabilities (B * G, L) of the answers at the end of `input_ids` (B * G, P + L), and entropies."""
        began, G = time.perf_counter(), self.num_generations
        rows, chunk = len(input_ids) // G, max(1, (batch_size or len(input_ids)) // G)
        prompt, answer = input_ids[::G, :-logits_to_keep], input_ids[:, -logits_to_keep:].view(rows, G, -1)
        real = attention_mask[::G, :-logits_to_keep].bool()
        owner = self.accelerator.unwrap_model(model)
        blocks = []
        for start in range(0, rows, chunk):
            block = slice(start, start + chunk)
            with self.accelerator.autocast():
                blocks.append(
                    answer_scores(
                        model,
                        owner,
                        self.answers.trie,
                        self.answers.sids,
                        prompt[block],
                        real[block],
                        answer[block],
                        self.settings.normalization,
                    )
                )
        logp, entropy, mass = (torch.cat(values).flatten(0, 1) for values in zip(*blocks, strict=True))
        if compute_entropy and self.settings.normalization == "vocab":
            self._metrics["train"]["legal_mass"].append(self.accelerator.gather(mass.mean()).mean().item())
        if not torch.is_grad_enabled():
            self.seconds["reference"] += time.perf_counter() - began
        return logp, entropy if compute_entropy else None, None

    def training_step(self, model, inputs, num_items_in_batch=None):
        """A micro-batch; at the last of an optimizer step the length of each phase is logged."""
        began, before = time.perf_counter(), sum(self.seconds.values())
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.seconds["update"] += time.perf_counter() - began - (sum(self.seconds.values()) - before)
        if self._step % self.current_gradient_accumulation_steps == 0:
            for phase, length in self.seconds.items():
                self._metrics["train"][f"seconds/{phase}"].append(length)
            self.seconds = dict.fromkeys(self.seconds, 0.0)
        return loss

    def create_model_card(self, *args, **kwargs) -> None:
        """None: the manifest of the stage says how the model was made."""

    def _save_checkpoint(self, model, trial) -> None:
        if self.args.sync_ref_model and self.args.should_save:  # before the trainer's state, which is written last
            directory = checkpoint_path(Path(self.args.output_dir), self.state.global_step)
            directory.mkdir(parents=True, exist_ok=True)
            save_model(self.accelerator.unwrap_model(self.ref_model), str(directory / REFERENCE))
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.args.sync_ref_model and checkpoint:
            load_model(self.accelerator.unwrap_model(self.ref_model), Path(checkpoint) / REFERENCE)


def fold_groups(batch: dict[str, Tensor], group: int) -> dict[str, Tensor]:
    """(B * G, ...) -> (B, G, ...); single numbers stay."""
    return {key: value.view(-1, group, *value.shape[1:]) if value.ndim else value for key, value in batch.items()}


def unfold_groups(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.flatten(0, 1) if value.ndim else value for key, value in batch.items()}


def train_rl(
    settings: Rl,
    run: Run,
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Dataset,
    answers: Answers,
    knowledge: Knowledge,
    decode: Callable[[], dict[str, float]],
    callbacks: list,
) -> tuple[PreTrainedModel, TrainingRecord]:
    """The model that is best on valid, the one given included, and how that came about."""
    start = model.name_or_path
    arguments = grpo_arguments(settings, run, directory, answers.index.num_levels, len(prompts))
    before = decode()[VALID_METRIC]  # several processes can talk since the arguments were made
    limit, floor = KlLimit(settings.kl_limit), Floor(before)
    patience = settings.test_during_training and settings.early_stop
    trainer = GroupTrainer(
        model,
        arguments,
        settings,
        answers,
        knowledge,
        decode,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(1)),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora) if settings.lora.r else None,
        callbacks=[floor, limit, *([Patience(patience)] if patience else []), *callbacks],
    )
    with show_on(trainer, RlScreen()):
        trainer.train(resume_from_checkpoint=find_newest_checkpoint(directory, trainer.stage))
    check_best(trainer)
    trainer.accelerator.wait_for_everyone()  # the checkpoints are removed once all have read the best of them
    best_step, best = find_best(trainer, before)
    statistics = {f"sft_valid_{VALID_METRIC}": before, "stopped": limit.reason}
    curve = validation_curve(trainer.state)
    steps = (trainer.state.global_step, best_step, VALID_METRIC, best)
    record = TrainingRecord("steps", *steps, curve, statistics, loss_curve(trainer.state))
    if best_step:
        note("rl", f"best on valid is step {best_step}: NDCG@10 {best:.4f}, SFT {before:.4f}")
        return merge_adapters(trainer.accelerator.unwrap_model(trainer.model)), record
    note("rl", f"RL did not help on valid (NDCG@10 {before:.4f} before it); the SFT model is written")
    return load_pretrained(start, torch.float32)[0], record


def find_best(trainer: GroupTrainer, before: float) -> tuple[int, float]:
    """Step and valid score of the model that the trainer now holds, or step 0 where the start was as good."""
    if trainer.settings.test_during_training:
        kept = trainer.state.best_model_checkpoint
        return int(Path(kept).name.split("-")[1]) if kept else 0, trainer.state.best_metric
    after = trainer.evaluate()[f"eval_{VALID_METRIC}"]
    return (trainer.state.global_step, after) if after > before else (0, before)
