"""How a training went, read from its whole curve: was the model still getting better at its end, level, or worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

AT_THE_END = 0.9  # of the training: where fewer validations than three tell no slope
FEWEST = 3  # validations that tell a slope from noise

Trend = Literal["rising", "level", "falling"]


@dataclass(frozen=True)
class Learning:
    """The end of a curve: its rise over the last third of the validations, and what of that may be noise."""

    trend: Trend
    rise: float
    noise: float  # standard error of the rise; 0 where there are too few validations to tell

    def describe(self, metric: str) -> str:
        words = {"rising": "was still rising at its end", "level": "was level at its end"}
        text = f"valid {metric.upper()} {words.get(self.trend, 'was best before its end')}"
        return f"{text} ({self.rise:+.4f} over the last third, noise {self.noise:.4f})" if self.noise else text


def read_learning(training: dict[str, Any] | None) -> Learning | None:
    """None where the model was not trained in this run, or never validated."""
    if training is None:
        return None
    scores = np.array([entry[training["metric"]] for entry in training["curve"] if training["metric"] in entry])
    if len(scores) < FEWEST:
        return Learning("rising" if training["best_at"] > AT_THE_END else "falling", 0.0, 0.0)
    rise, noise = measure_rise(scores)
    fallen = scores.max() - scores[-1] > 2 * noise_of(scores)
    return Learning("falling" if fallen else "rising" if rise > noise else "level", rise, noise)


def measure_rise(scores: np.ndarray) -> tuple[float, float]:
    """Rise of the line through the last third of the scores, three at least, and its standard error.

    Of m points of noise s the slope has the variance 12 s^2 / (m (m^2 - 1)); the rise is m - 1 slopes.
    """
    last = max(FEWEST, -(-len(scores) // 3))
    slope = float(np.polyfit(np.arange(last), scores[-last:], 1)[0])
    error = noise_of(scores) * np.sqrt(12 / (last * (last**2 - 1)))
    return slope * (last - 1), float(error * (last - 1))


def noise_of(scores: np.ndarray) -> float:
    """Standard deviation of one validation around a line through its neighbours: second differences have 6 times it."""
    return float(np.sqrt(np.mean(np.diff(scores, 2) ** 2) / 6))


SETTLED, JUDGED = 0.15, 0.60  # of the steps: behind the first fall, before the falling rate shows
STUCK = 0.12  # the loss fell by less than this share between the two

Rate = Literal["too high", "fits"]


def read_rate(training: dict[str, Any] | None) -> Rate | None:
    """Whether the losses say that the rate was too high: a quick first fall, then hardly any while the rate is at its
    highest. None without losses."""
    losses = [entry["loss"] for entry in (training or {}).get("losses", [])]
    if len(losses) < 10:
        return None
    first, judged = round(SETTLED * len(losses)), round(JUDGED * len(losses))
    width = max(1, len(losses) // 10)
    begin, settled, late = (float(np.mean(losses[at : at + width])) for at in (0, first, judged - width))
    early_fall, later_fall = begin - settled, settled - late
    return "too high" if later_fall < STUCK * settled and early_fall > 2 * max(later_fall, 0.0) else "fits"
