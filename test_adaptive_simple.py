"""The rule of adaptive alternation on invented losses: whose turn it is, when it switches, and reset. Seconds, no data.

python test_adaptive_simple.py
python test_adaptive_simple.py --threshold 0.05 --min_steps 8
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from genrec.cli import run_program
from genrec.config import Section, knob
from UR4Rec.options import read_options


class RuleOptions(Section):
    threshold: float = knob(0.01, "a relative fall below it ends a turn", ge=0)
    min_steps: int = knob(5, "no turn is shorter", ge=2)


def main() -> None:
    from UR4Rec.models.training_strategies import AdaptiveAlternatingTrainer, FixedAlternation

    options = read_options("test_adaptive_simple.py", __doc__, RuleOptions)
    for name, rule in {
        "adaptive": AdaptiveAlternatingTrainer(threshold=options.threshold, min_steps=options.min_steps),
        "fixed": FixedAlternation(),
    }.items():
        print(f"{name:<9} {turns_of(rule)}")
        print(f"{'':<9} {rule.get_stats()}")
        rule.reset()
        assert rule.get_stats()["total_steps"] == 0
    print("S = SASRec learns, R = the retriever; each loss falls by 10% a step of its own down to a floor of 2.0")


def turns_of(rule, steps: int = 60) -> str:
    """Who learned in each step, one letter each; a module's loss falls only while it learns."""
    losses, letters = {"sasrec": 6.0, "retriever": 6.0}, ""
    for _ in range(steps):
        module = rule.current_module
        losses[module] = max(losses[module] * 0.9, 2.0)
        letters += module[0].upper()
        rule.step(losses[module])
    return letters


if __name__ == "__main__":
    run_program(__file__, main)
