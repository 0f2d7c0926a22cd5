"""What must not get worse: a number may change by so much and no more, and that has to be shown.

Non-inferiority, one-sided: the hypothesis that is to be rejected says that the harm is as large as the margin. "No
significant harm" would be granted to whoever measures least.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from genrec.errors import ConfigError
from genrec.experiments.statistics.differences import Difference

FORM = re.compile(r"(?P<metric>[^:]+):(?P<sign>[+-])(?P<margin>\d*\.?\d+)%")
Verdict = Literal["holds", "violated", "not shown"]


@dataclass(frozen=True)
class Guardrail:
    """A metric and by what share of the control's value it may fall (sign -1) or rise (+1)."""

    metric: str
    sign: int
    margin: float

    def __str__(self) -> str:
        return f"{self.metric}:{'+' if self.sign > 0 else '-'}{self.margin * 100:g}%"


def parse_guardrail(text: str) -> Guardrail:
    """`revenue:-2%` may fall by 2% at most, `returns:+5%` may rise by 5% at most."""
    found = FORM.fullmatch(text)
    if not found or not 0 < float(found["margin"]) < 100:
        raise ConfigError(
            f"a guardrail is METRIC:-2% (may fall by 2% at most) or METRIC:+5% (may rise by 5%), found '{text}'"
        )
    return Guardrail(found["metric"], 1 if found["sign"] == "+" else -1, float(found["margin"]) / 100)


def judge_guardrail(guardrail: Guardrail, difference: Difference) -> Verdict:
    """By the interval of the relative change; one of level 1 - 2 alpha makes each side a test at alpha.

    Schumi and Wittes, "Through the looking glass: understanding non-inferiority" (Trials 2011).
    """
    harms = [guardrail.sign * bound for bound in (difference.relative_low, difference.relative_high)]
    if max(harms) < guardrail.margin:
        return "holds"
    return "violated" if min(harms) > guardrail.margin else "not shown"
