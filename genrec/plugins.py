"""Functions of one's own, by `module:function`, wherever a name is accepted; packages offer them as entry points.

    rl.reward_type       genrec.rewards       (groups, knowledge) -> (B, G) numbers: genrec/training/rewards.py
    evaluation.models    genrec.baselines     (request) -> what has .recommend(examples, k): genrec/models/families.py
    evaluation.metrics   genrec.metrics       (rank, k) -> (E,) numbers: genrec/evaluation/metrics.py
    sids.method          genrec.sid_methods   (vectors, num_levels, codebook_size, seed) -> (N, L) codes
    data.source          genrec.sources       (data) -> events, or (events, items): genrec/data/own_source.py
    sft.tasks, rl.tasks  genrec.tasks         () -> OwnTask: genrec/own_tasks.py

A module is looked for on Python's path and in the working directory. A function is loaded when the configuration is
checked, its parameters counted then, and the source of its module is part of what an artifact was made from.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import core_schema

from genrec.errors import ArtifactError, ConfigError, first_line, suggest

FORM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Kind:
    """What a function stands for: the group of its entry points, and the parameters that it is called with."""

    noun: str
    group: str
    parameters: tuple[str, ...]


REWARD = Kind("reward", "genrec.rewards", ("groups", "knowledge"))
BASELINE = Kind("model", "genrec.baselines", ("request",))
METRIC = Kind("metric", "genrec.metrics", ("rank", "k"))
SID_METHOD = Kind("SID method", "genrec.sid_methods", ("vectors", "num_levels", "codebook_size", "seed"))
SOURCE = Kind("data source", "genrec.sources", ("data",))
TASK = Kind("task", "genrec.tasks", ())

PLUGIN_KEYS = {  # of what an artifact was made from
    "rl.reward_type": REWARD,
    "evaluation.metrics": METRIC,
    "sids.method": SID_METHOD,
    "family": BASELINE,
    "data.source": SOURCE,
    "sft.tasks": TASK,
    "rl.tasks": TASK,
}


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text that is one of our names, or names a function of the user's."""

    kind: Kind
    names: tuple[str, ...]
    load: Callable[[str], Any] | None = None  # what else must hold of a function, where its parameters do not tell

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, name: str) -> str:
        if name in self.names:
            return name
        offered = offered_names(self.kind)
        if not is_plugin(name) and name not in offered:
            known = (*self.names, *offered)
            near = suggest(name, list(known)) or f"; known: {', '.join(known)}"
            raise ValueError(f"unknown {self.kind.noun} '{name}'{near}; or module:function")
        try:
            self.load(name) if self.load else load_plugin(name, self.kind)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return name


def is_plugin(name: str) -> bool:
    return FORM.fullmatch(name) is not None


def offered_names(kind: Kind) -> list[str]:
    """Entry points of installed packages."""
    return sorted(each.name for each in metadata.entry_points(group=kind.group))


def load_plugin(name: str, kind: Kind) -> Callable[..., Any]:
    """The function of a name; ConfigError where there is none, or it is called otherwise."""
    try:
        function = load_function(name) if is_plugin(name) else metadata.entry_points(group=kind.group)[name].load()
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        own = error.name == name.partition(":")[0].partition(".")[0]
        way = f"; call from the directory of {error.name}, or name that in PYTHONPATH" if own else ""
        raise ConfigError(f"{kind.noun} {name} cannot be imported: {type(error).__name__}: {error}{way}") from None
    except Exception as error:  # whatever the user's module raises when it is imported
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{kind.noun} {name} cannot be imported: {why}") from None
    if not callable(function):
        raise ConfigError(f"{kind.noun} {name} is no function but {type(function).__name__}")
    check_parameters(name, function, kind)
    return function


def load_function(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    module = import_module(module_name)
    if not hasattr(module, attribute):
        own = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigError(f"module {module_name} has no '{attribute}'{suggest(attribute, own)}")
    return getattr(module, attribute)


def check_parameters(name: str, function: Callable[..., Any], kind: Kind) -> None:
    try:
        inspect.signature(function).bind(*kind.parameters)
    except TypeError:
        asked = inspect.signature(function)
        raise ConfigError(
            f"{kind.noun} {name} takes {asked}, it is called with ({', '.join(kind.parameters)}); see genrec/plugins.py"
        ) from None


def call_plugin(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Its result; what a function of the user's own raises becomes one line with its name and where it happened."""
    try:
        return function(*arguments)
    except (ArtifactError, ConfigError) as error:
        raise ArtifactError(f"{name}: {error}") from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        raise ArtifactError(f"{name} failed: {type(error).__name__}: {first_line(error)} ({where})") from error


def take_numbers(name: str, given: Any, kind: type = float) -> np.ndarray:
    """What a function gave as an array of numbers, or ArtifactError with its name."""
    try:
        return np.asarray(given, dtype=kind)
    except (TypeError, ValueError):
        raise ArtifactError(f"{name} gave {type(given).__name__}, which is no array of numbers") from None


def find_plugins(value: Any, kind: Kind) -> Iterator[str]:
    """The names of functions in a knob's value: a text, a list of them, or a mapping from them."""
    if isinstance(value, str):
        if is_plugin(value) or value in list_offered(kind.group, tuple(sys.path)):
            yield value
    elif isinstance(value, list | dict):
        for each in value:
            yield from find_plugins(each, kind)


@functools.cache
def list_offered(group: str, path: tuple[str, ...]) -> frozenset[str]:
    """Names of entry points on this path; asked for every artifact, so that the packages are read once."""
    return frozenset(each.name for each in metadata.entry_points(group=group))


def fingerprint_plugin(name: str, kind: Kind) -> str:
    """A hash of the source file that a function stands in."""
    source = inspect.getsourcefile(inspect.unwrap(load_plugin(name, kind)))
    content = Path(source).read_bytes() if source else name.encode()
    return hashlib.sha256(content).hexdigest()[:16]
