"""The advised configuration as a file that is complete in itself: `genrec run --config optimized_config.json`.

It names the preset that it is laid over, in every key that differs from it, a new run, and the run to begin from.
"""

from __future__ import annotations

import copy
import re
from itertools import chain, count
from pathlib import Path
from typing import Any

from genrec.artifacts import ROUNDS
from genrec.commandline import DEFAULT_PRESET, parse_strict, stage_program
from genrec.presets import REPLACED_WHOLE, Tree, merge, preset_names


def complete_overlay(analysed: Tree, overlay: Tree) -> Tree:
    """The whole of the next run: `analysed` is the configuration of the run that the advice is for.

    Without advice it is that run's own configuration.
    """
    wanted = merge(copy.deepcopy(analysed), copy.deepcopy(overlay))
    wanted["run"] |= {"root": None, "when_changed": "refuse"}  # how the analysis was called
    if overlay:
        begun_from = Path(analysed["run"]["dir"])
        wanted["run"] |= {"dir": str(next_directory(begun_from)), "from_run": str(begun_from), "remote": None}
    differing = {name: subtract(wanted, resolve_preset(name)) for name in (DEFAULT_PRESET, *preset_names())}
    usable = {name: rest for name, rest in differing.items() if rest is not None}
    preset = min(usable, key=lambda name: count_leaves(usable[name]))
    return {"extends": preset, **in_order(usable[preset], wanted)}


def next_directory(run: Path) -> Path:
    """<run>_optimized, or with the next number that is not taken; of a round, beside the run that the loop belongs to.

    Apart from <run>_2, ..., which run.when_changed new_run begins: the two do not meet.
    """
    if run.parent.name == ROUNDS:
        run = run.parent.parent
    first = run.with_name(re.sub(r"_optimized(_\d+)?$", "", run.name) + "_optimized")
    names = chain([first], (first.with_name(f"{first.name}_{number}") for number in count(2)))
    return next(path for path in names if not path.exists())


def resolve_preset(name: str) -> Tree:
    """The configuration that a preset gives by itself."""
    return parse_strict(stage_program("genrec run", ""), ["--config", name]).config.model_dump(mode="json")


def subtract(wanted: Tree, base: Tree) -> Tree | None:
    """What is to be laid on `base` so that it becomes `wanted`; None where it has a key too many."""
    if base.keys() - wanted.keys():
        return None
    rest = {}
    for key, value in wanted.items():
        if key in base and base[key] == value:
            continue
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in REPLACED_WHOLE:
            value = subtract(value, base[key])
            if value is None:
                return None
        rest[key] = value
    return rest


def count_leaves(tree: Any) -> int:
    return sum(map(count_leaves, tree.values())) if isinstance(tree, dict) else 1


def in_order(tree: Tree, like: Tree) -> Tree:
    return {key: tree[key] for key in like if key in tree}
