"""Is RL worth its time? What the rewards say before a step is taken, where it began, when to stop.

B groups, G answers a group
"""

from __future__ import annotations

from transformers import TrainerCallback

from genrec.config import SEQUENTIAL_REWARDS
from genrec.errors import ArtifactError
from genrec.tables import render_table
from genrec.training.rewards import REWARDS, Groups, Knowledge, is_flat, score_groups


def format_replay(groups: Groups, knowledge: Knowledge, chosen: dict[str, float]) -> str:
    """A table of what each reward that can be computed would do with these groups, the chosen sum last."""
    rows = {name: score_groups(name, groups, knowledge) for name in REWARDS if is_computable(name, knowledge)}
    rows["chosen"] = sum(weight * rows[name] for name, weight in chosen.items())
    hit = groups.hit.any(axis=1).mean()
    table = [["reward", "dead groups", "mean", "spread in a group"]]
    for name, value in rows.items():
        spread = value.std(axis=1).mean()
        table.append([name, f"{is_flat(value).mean():.1%}", f"{value.mean():.4f}", f"{spread:.4f}"])
    held = f"{len(groups.item)} groups of {groups.item.shape[1]}; {hit:.1%} of them hold their target"
    return f"{held}\n{render_table(table)}"


def is_computable(name: str, knowledge: Knowledge) -> bool:
    if name in SEQUENTIAL_REWARDS:
        return name in knowledge.sequential
    return name != "semantic" or knowledge.vectors is not None


def check_alive(groups: Groups, knowledge: Knowledge, chosen: dict[str, float]) -> float:
    """Share of groups that the chosen sum leaves dead; an error where a reward is constant over all of them."""
    values = {name: score_groups(name, groups, knowledge) for name in chosen}
    for name, value in values.items():
        if is_flat(value).all():
            raise ArtifactError(
                f"reward '{name}' is constant in each of {len(value)} groups, so nothing can be learned from it. "
                "Ways on: rl.reward_type prefix, which tells misses apart; more rl.num_generations; a better SFT model"
            )
    return float(is_flat(sum(weight * values[name] for name, weight in chosen.items())).mean())


class Floor(TrainerCallback):
    """The SFT model as the first candidate for the best on valid: a checkpoint must beat it to be kept."""

    def __init__(self, score: float):
        self.score = score

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.best_metric is None:
            state.best_metric = self.score


class KlLimit(TrainerCallback):
    """Stops when the policy has left the reference; `reason` then says so."""

    def __init__(self, limit: float):
        self.limit, self.reason = limit, ""

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if self.limit and logs.get("kl", 0.0) > self.limit:
            self.reason = f"KL {logs['kl']:.3g} passed rl.kl_limit {self.limit:g} at step {state.global_step}"
            control.should_training_stop = True
