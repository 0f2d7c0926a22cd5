"""The rule of adaptive alternation on made-up losses: whose turn it is, when it switches, and reset. Seconds, no data.

python test_adaptive_simple.py
python test_adaptive_simple.py --threshold 0.05 --min_steps 8
"""

from __future__ import annotations

import argparse


def main() -> None:
    from UR4Rec.models.training_strategies import AdaptiveAlternatingTrainer, FixedAlternation

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold", type=float, default=0.01, help="a relative fall below it ends a turn")
    parser.add_argument("--min_steps", type=int, default=5, help="no turn is shorter")
    options = parser.parse_args()
    for name, rule in {
        "adaptive": AdaptiveAlternatingTrainer(threshold=options.threshold, min_steps=options.min_steps),
        "fixed": FixedAlternation(),
    }.items():
        print(f"{name:<9} {learned(rule)}")
        print(f"{'':<9} {rule.get_stats()}")
        rule.reset()
        assert rule.get_stats()["total_steps"] == 0
    print("S = SASRec learns, R = the retriever; each loss falls by 10% a step of its own down to a floor of 2.0")


def learned(rule, steps: int = 60) -> str:
    """Who learned in each step, one letter each; a module's loss falls only while it learns."""
    losses, letters = {"sasrec": 6.0, "retriever": 6.0}, ""
    for _ in range(steps):
        module = rule.current_module
        losses[module] = max(losses[module] * 0.9, 2.0)
        letters += module[0].upper()
        rule.step(losses[module])
    return letters


if __name__ == "__main__":
    main()
