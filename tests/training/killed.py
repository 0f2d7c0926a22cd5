"""A training that is killed as by kill -9, but within the test's own process."""

from transformers import TrainerCallback


class KilledAfter(TrainerCallback):
    """Stops a run in the step after `step`."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step > self.step:
            raise KeyboardInterrupt
