"""The rule of adaptive alternation on invented losses: whose turn it is, when it switches, and reset. Seconds, no data.

Each promise is a check that ends the script with an AssertionError where it does not hold.

python test_adaptive_simple.py
python test_adaptive_simple.py --threshold 0.05 --min_steps 8
python -m pytest -q test_adaptive_simple.py      # the same checks, at the defaults
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

import re
from typing import TYPE_CHECKING

from genrec.cli import run_program
from genrec.config import Section, knob
from UR4Rec.options import read_options

if TYPE_CHECKING:
    from UR4Rec.models.training_strategies import Alternation

FLOOR, FALL, STEPS = 2.0, 0.9, 60


class RuleOptions(Section):
    threshold: float = knob(0.01, "a relative fall below it ends a turn", ge=0)
    min_steps: int = knob(5, "no turn is shorter", ge=2)


def main() -> None:
    options = read_options("test_adaptive_simple.py", __doc__, RuleOptions)
    rules = {"adaptive": adaptive(options.threshold, options.min_steps), "fixed": fixed()}
    for name, rule in rules.items():
        print(f"{name:<9} {turns_of(rule)}")
        print(f"{'':<9} {rule.get_stats()}")
    print(
        f"S = SASRec learns, R = the retriever; each loss falls by 10% a step of its own down to a floor of {FLOOR}\n"
    )
    given = (options.threshold, options.min_steps)
    for check in (test_turns_are_long_enough, test_a_still_loss_gives_way, test_a_falling_loss_keeps_its_turn):
        check(*given)
        print(f"holds: {check.__doc__}")
    for check in (test_fixed_turns_take_one_step_each, test_reset_forgets_everything, test_the_counts_add_up):
        check()
        print(f"holds: {check.__doc__}")


def adaptive(threshold: float = 0.01, min_steps: int = 5) -> Alternation:
    from UR4Rec.models.training_strategies import AdaptiveAlternatingTrainer

    return AdaptiveAlternatingTrainer(threshold=threshold, min_steps=min_steps)


def fixed() -> Alternation:
    from UR4Rec.models.training_strategies import FixedAlternation

    return FixedAlternation()


def turns_of(rule: Alternation, steps: int = STEPS) -> str:
    """Who learned in each step, one letter each; a module's loss falls only while it learns."""
    losses, letters = {"sasrec": 6.0, "retriever": 6.0}, ""
    for _ in range(steps):
        module = rule.current_module
        losses[module] = max(losses[module] * FALL, FLOOR)
        letters += module[0].upper()
        rule.step(losses[module])
    return letters


def lengths_of(letters: str) -> list[int]:
    """Lengths of the turns that ended."""
    return [len(turn.group()) for turn in re.finditer(r"S+|R+", letters)][:-1]


def test_turns_are_long_enough(threshold: float = 0.01, min_steps: int = 5):
    """no turn is shorter than min_steps"""
    assert min(lengths_of(turns_of(adaptive(threshold, min_steps))), default=min_steps) >= min_steps


def test_a_still_loss_gives_way(threshold: float = 0.01, min_steps: int = 5):
    """a loss that stands still ends its turn after min_steps, at any threshold above 0"""
    rule = adaptive(threshold, min_steps)
    for step in range(1, 3 * min_steps + 1):
        rule.step(FLOOR)
        assert rule.get_stats()["switch_count"] == (step // min_steps if threshold > 0 else 0)


def test_a_falling_loss_keeps_its_turn(threshold: float = 0.01, min_steps: int = 5):
    """a loss that falls by a multiple of the threshold keeps its turn"""
    rule = adaptive(threshold, min_steps)
    share = max(1 - 4 * threshold, 0.5)  # halves of the window are at least a step apart, so their means differ by more
    if 1 - share <= threshold:
        return  # a threshold so large that halving a loss is standing still
    for step in range(40):
        rule.step(6.0 * share**step)
    assert rule.get_stats()["switch_count"] == 0


def test_fixed_turns_take_one_step_each():
    """without the rule the two take turns step by step"""
    assert turns_of(fixed()) == "SR" * (STEPS // 2)


def test_reset_forgets_everything():
    """after reset a rule does what a new one does"""
    rule = adaptive()
    first = turns_of(rule)
    rule.reset()
    assert rule.get_stats() == adaptive().get_stats()
    assert turns_of(rule) == first


def test_the_counts_add_up():
    """steps, shares and switches are those of the letters"""
    rule = adaptive()
    letters, stats = turns_of(rule), rule.get_stats()
    assert (stats["sasrec_steps"], stats["retriever_steps"]) == (letters.count("S"), letters.count("R"))
    assert stats["total_steps"] == STEPS and stats["sasrec_ratio"] + stats["retriever_ratio"] == 1
    # a turn that ends with the last step has switched and not yet begun another
    assert stats["switch_count"] - letters.count("SR") - letters.count("RS") in (0, 1)


if __name__ == "__main__":
    run_program(__file__, main)
