"""What a training shows: on a terminal a bar and a line a validation above it, elsewhere a handful of lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PrinterCallback, Trainer, TrainerState
from transformers.trainer_callback import ProgressCallback

from genrec.launch import note
from genrec.lines import Milestones
from genrec.training.validation import VALID_METRIC


class Screen(ProgressCallback):
    """Lines instead of the dictionaries that the Trainer's own callbacks print.

    Without a terminal: the first log, so that one sees it go, then at most lines.SHOWN of the validations (of the logs
    where there is no validation), each with the newest log in short.
    """

    stage = ""

    def __init__(self):
        super().__init__()
        self.milestones, self.began_to_log, self.newest = Milestones(1), False, ""

    def format_logs(self, state: TrainerState, logs: dict[str, float]) -> str:
        """What there is to say of a log; '' says nothing."""
        raise NotImplementedError

    def format_briefly(self, state: TrainerState, logs: dict[str, float]) -> str:
        """The same beside a bar, or beside a validation."""
        raise NotImplementedError

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.milestones = Milestones(state.max_steps, state.global_step)
        if not args.disable_tqdm:
            super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.stage)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands; also where training ends in an error, whose line is not to be glued to it."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if validation := format_validation(logs):
            if self.training_bar is not None or self.milestones.reached(state.global_step):
                self.say(state, f"{self.newest}; {validation}" if self.newest else validation)
        elif text := self.format_logs(state, logs):
            self.newest = self.format_briefly(state, logs)
            if self.training_bar is not None:
                self.training_bar.set_postfix_str(self.newest)
            elif not self.began_to_log or (args.eval_strategy == "no" and self.milestones.reached(state.global_step)):
                self.say(state, text)
            self.began_to_log = True

    def say(self, state: TrainerState, text: str) -> None:
        note(self.stage, f"step {state.global_step}/{state.max_steps}: {text}")


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
        pace = (state.epoch - self.epochs_before) * self.targets / (time.monotonic() - self.began)
        rate = f"rate {logs['learning_rate']:.1e}, {pace:,.0f} targets/s"
        return f"loss {logs['loss']:.3f}, {rate}, {self.format_left(state)}"

    def format_briefly(self, state: TrainerState, logs: dict[str, float]) -> str:
        loss = f"loss {logs['loss']:.3f}"
        return loss if self.training_bar is not None else f"{loss}, {self.format_left(state)}"

    def format_left(self, state: TrainerState) -> str:
        seconds, steps = time.monotonic() - self.began, state.global_step - self.steps_before
        return f"{format_duration(seconds * (state.max_steps - state.global_step) / steps)} left"


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
    BRIEF = ("reward", "kl")

    def format_logs(self, state: TrainerState, logs: dict[str, float]) -> str:
        if "reward" not in logs:
            return ""
        phases = [f"{key.split('/')[1]} {value:.2f} s" for key, value in logs.items() if key.startswith("seconds/")]
        return ", ".join([*self.format_health(logs, tuple(self.COLUMNS)), *phases])

    def format_briefly(self, state: TrainerState, logs: dict[str, float]) -> str:
        return ", ".join(self.format_health(logs, self.BRIEF))

    def format_health(self, logs: dict[str, float], names: tuple[str, ...]) -> list[str]:
        return [f"{self.NAMES.get(name, name)} {logs[name]:{self.COLUMNS[name]}}" for name in names if name in logs]


def format_validation(logs: dict[str, float]) -> str:
    scores = {name: logs[f"eval_{name}"] for name in (VALID_METRIC, "hr@10") if f"eval_{name}" in logs}
    return "valid " * bool(scores) + ", ".join(f"{name.upper()} {value:.4f}" for name, value in scores.items())


def format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def show_on(trainer: Trainer, screen: Screen) -> Iterator[None]:
    """Within: `screen` in place of what the Trainer prints with; its bar is closed at the end, whatever ends it."""
    for chatty in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(chatty)
    trainer.add_callback(screen)
    try:
        yield
    finally:
        screen.close()
