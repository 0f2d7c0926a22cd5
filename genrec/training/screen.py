"""What a training shows: a line for each log and each validation and, on a terminal, the Trainer's bar below them."""

from __future__ import annotations

import time

from transformers import PrinterCallback, Trainer, TrainerState
from transformers.trainer_callback import ProgressCallback

from genrec.launch import note
from genrec.training.validation import VALID_METRIC


class Screen(ProgressCallback):
    """Lines instead of the dictionaries that the Trainer's own callbacks print."""

    stage = ""

    def format_logs(self, state: TrainerState, logs: dict[str, float]) -> str:
        """What there is to say of a log; '' says nothing."""
        raise NotImplementedError

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if not args.disable_tqdm:
            super().on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.training_bar is not None:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        text = format_validation(logs) or self.format_logs(state, logs)
        if not text:
            return
        line = f"step {state.global_step}/{state.max_steps}: {text}"
        if self.training_bar is not None:
            self.training_bar.write(f"{self.stage}: {line}")  # above the bar, where a plain print would cut it
        else:
            note(self.stage, line)


class SftScreen(Screen):
    """Loss and pace of SFT. A target is one answer asked for, however many share a row."""

    stage = "sft"

    def __init__(self, targets: int):
        super().__init__()
        self.targets = targets  # of an epoch
        self.began, self.steps_before, self.epochs_before = 0.0, 0, 0.0  # a resumed run is timed from where it goes on

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.began, self.steps_before, self.epochs_before = time.monotonic(), state.global_step, state.epoch or 0.0
        super().on_train_begin(args, state, control, **kwargs)

    def format_logs(self, state: TrainerState, logs: dict[str, float]) -> str:
        if "loss" not in logs:
            return ""
        seconds = time.monotonic() - self.began
        pace = (state.epoch - self.epochs_before) * self.targets / seconds
        left = seconds * (state.max_steps - state.global_step) / (state.global_step - self.steps_before)
        return (
            f"loss {logs['loss']:.3f}, gradient {logs['grad_norm']:.2f}, rate {logs['learning_rate']:.1e}, "
            f"{pace:,.0f} targets/s, {format_duration(left)} left"
        )


class RlScreen(Screen):
    """Health of an RL step, and what its parts took."""

    stage = "rl"
    COLUMNS = {
        "reward": ".3f",
        "hit_in_group": ".1%",
        "frac_reward_zero_std": ".1%",
        "kl": ".4f",
        "entropy": ".2f",
        "legal_mass": ".3f",
    }
    NAMES = {"hit_in_group": "hit", "frac_reward_zero_std": "dead"}

    def format_logs(self, state: TrainerState, logs: dict[str, float]) -> str:
        if "reward" not in logs:
            return ""
        health = [f"{self.NAMES.get(key, key)} {logs[key]:{form}}" for key, form in self.COLUMNS.items() if key in logs]
        phases = [f"{key.split('/')[1]} {value:.2f} s" for key, value in logs.items() if key.startswith("seconds/")]
        return ", ".join(health + phases)


def format_validation(logs: dict[str, float]) -> str:
    scores = {name: logs[f"eval_{name}"] for name in (VALID_METRIC, "hr@10") if f"eval_{name}" in logs}
    return "valid " * bool(scores) + ", ".join(f"{name.upper()} {value:.4f}" for name, value in scores.items())


def format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def replace_screen(trainer: Trainer, screen: Screen) -> None:
    """Let `screen` take the place of what the Trainer prints with."""
    for chatty in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(chatty)
    trainer.add_callback(screen)
