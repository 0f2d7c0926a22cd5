"""Which arm of an experiment a user belongs to: by a hash, so the same user gets the same arm on every machine.

    experiments:
      rl_or_sft:
        salt: spring
        arms:
          sft: {share: 0.5, model: sft}
          rl: {share: 0.5, model: rl}

`Experiments.read(path)` checks such a file, `assign(user)` answers. The first arm is the control.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from genrec.config import Section, knob
from genrec.config_checks import explain_errors
from genrec.errors import ConfigError, suggest
from genrec.presets import read_config

NAME = r"^[\w\-][\w.\-]*$"
ROUNDING = 1e-6  # by which shares may miss 1, so that three times 0.3333333 will do


class Arm(Section):
    """One way to answer."""

    share: float = knob(0.5, "of the users", gt=0, le=1)
    model: str | None = knob(None, "the model that answers; where none is named the server's own")
    settings: dict[str, Any] = knob({}, "of the request, as the server takes them, such as k or exclude_seen")


class Experiment(Section):
    """Arms, and who gets which."""

    salt: str = knob("", "users are dealt out by a hash of salt and user; another salt deals anew", max_length=200)
    interleave: bool = knob(False, "every user gets the lists of both arms, interleaved by team draft")
    sampled: float = knob(0.0, "of the requests: their lists are drawn by chance, with logged propensities", ge=0, le=1)
    temperature: float = knob(1.0, "of drawn lists: towards 0 the best list, beyond 1 more by chance", gt=0, le=100)
    arms: dict[str, Arm] = knob({}, "name of an arm -> share, model, settings; the first is the control")

    @field_validator("arms")
    @classmethod
    def check_names(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        check_words("arm", arms)
        if len(arms) < 2:
            raise ValueError(f"an experiment needs at least two arms, found {len(arms)}")
        return arms

    @model_validator(mode="after")
    def check_shares(self) -> Experiment:
        if self.interleave and len(self.arms) != 2:
            raise ValueError(f"interleave needs exactly two arms, found {len(self.arms)}: {', '.join(self.arms)}")
        if self.interleave and self.sampled:
            raise ValueError(
                f"interleaved lists are drafted and not drawn, so sampled must be 0, found {self.sampled:g}"
            )
        total = math.fsum(arm.share for arm in self.arms.values())
        if not self.interleave and abs(total - 1) > ROUNDING:
            raise ValueError(f"shares must sum to 1, found {total:g} over {', '.join(self.arms)}")
        return self

    @property
    def shares(self) -> dict[str, float]:
        return {name: arm.share for name, arm in self.arms.items()}


class ExperimentsFile(Section):
    """What the file holds."""

    experiments: dict[str, Experiment] = knob({}, "name of an experiment -> salt, arms")

    @field_validator("experiments")
    @classmethod
    def check_names(cls, experiments: dict[str, Experiment]) -> dict[str, Experiment]:
        check_words("experiment", experiments)
        if not experiments:
            raise ValueError("at least one experiment is needed, found none")
        return experiments


def check_words(kind: str, names: Mapping[str, Any]) -> None:
    for name in names:
        if not re.match(NAME, name):
            raise ValueError(f"the name of an {kind} must be letters, digits, _ - and ., found '{name}'")


@dataclass(frozen=True)
class Assignment:
    """Where a user belongs in one experiment."""

    experiment: str
    arms: Mapping[str, Arm]  # one; of an interleaved experiment the two whose lists are drafted

    @property
    def arm(self) -> str:
        """The arm's name, as logs hold it; 'a+b' where two are interleaved."""
        return "+".join(self.arms)


@dataclass(frozen=True)
class Experiments:
    """Those of one file."""

    by_name: Mapping[str, Experiment]

    @classmethod
    def read(cls, path: Path) -> Experiments:
        """A YAML or JSON file; ConfigError, one line, where it cannot be used."""
        return cls.check(read_config(path), str(path))

    @classmethod
    def check(cls, tree: Any, origin: str) -> Experiments:
        """The content of such a file; `origin` is how messages call it."""
        try:
            with explain_errors(ExperimentsFile):
                return cls(ExperimentsFile.model_validate(tree).experiments)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None

    def assign(self, user: str, experiment: str | None = None) -> Assignment:
        """The user's arm; which experiment must be said where there are several."""
        name = self.choose(experiment)
        chosen = self.by_name[name]
        if chosen.interleave:
            return Assignment(name, chosen.arms)
        arm = choose_arm(user, chosen.salt, chosen.shares)
        return Assignment(name, {arm: chosen.arms[arm]})

    def choose(self, experiment: str | None) -> str:
        if experiment is None and len(self.by_name) > 1:
            raise ConfigError(f"there are several experiments, name one of: {', '.join(self.by_name)}")
        name = experiment or next(iter(self.by_name))
        if name not in self.by_name:
            raise ConfigError(
                f"no experiment '{name}'{suggest(name, self.by_name)}; there are: {', '.join(self.by_name)}"
            )
        return name

    def dump(self) -> dict[str, Any]:
        """As the file holds it."""
        return {"experiments": {name: each.model_dump() for name, each in self.by_name.items()}}


def choose_arm(user: str, salt: str, shares: Mapping[str, float]) -> str:
    """The arm with the least -ln(u) / share, u uniform in (0, 1) by a hash of salt, arm and user.

    Exponential waiting times with rates `share`: arm a is first with probability share_a / sum of shares. A user's u
    never change, so a user moves only to an arm whose share grew relative to theirs; where one share changes and the
    others keep their proportions, no more users move than the change. Thaler and Ravishankar, "Using name-based
    mappings to increase hit rates" (1998); weights: Schindelhauer and Schomaker, "Weighted distributed hash tables"
    (2005).
    """
    return min(shares, key=lambda arm: -math.log(hash_uniform(salt, arm, user)) / shares[arm])


def hash_uniform(*words: str) -> float:
    """SHA-256 of the words -> a number inside (0, 1), from its first 52 bits; no two lists of words run together."""
    digest = hashlib.sha256("".join(f"{len(word)}:{word}" for word in words).encode("utf-8", "surrogatepass")).digest()
    return ((int.from_bytes(digest[:8]) >> 12) + 0.5) / 2**52


def hash_user(user: str, key: str) -> str:
    """How logs name a user who is to stay unknown: HMAC-SHA-256 under a key, the first 32 hexadecimal digits."""
    return hmac.new(key.encode(), user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
