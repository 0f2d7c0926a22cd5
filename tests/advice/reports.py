"""Reports of bad cases as an analysis writes them, healthy but for what a test plants."""

import json

from tests import ROOT, parse_flags

TINY = str(ROOT / "config/tiny.yaml")

# What the tests count on, whatever the preset becomes.
RUN = {
    "data": {"max_history": 10},
    "sids": {"method": "rqkmeans", "num_levels": 3, "codebook_size": 16, "collisions": "reassign", "alpha": 0.0},
    "sft": {"train_from_scratch": True, "tasks": {"sid_to_sid": 1, "title_to_sid": 1, "sid_to_title": 1}},
    "sequential": {"cosine": True},
}


def config(*flags: str) -> dict:
    pinned = [
        word
        for section, keys in RUN.items()
        for key, value in keys.items()
        for word in (f"--{section}.{key}", json.dumps(value))
    ]
    return parse_flags(["--config", TINY, *pinned, *flags]).config.model_dump(mode="json")


def pattern(share: float, hits: float, finding: str = "more often among misses") -> dict:
    def estimate(mean):
        return {"mean": mean, "low": None if mean is None else 0.9 * mean, "high": None if mean is None else 1.1 * mean}

    return {
        "says": "it is so",
        "finding": finding,
        "count": int(100 * share),
        "share": estimate(share),
        "share_among_hits": estimate(hits),
        "lift": estimate(share / hits if hits else None),
        "excess": estimate(share - hits),
    }


def report(model: str = "sft", flags: tuple[str, ...] = (), collisions: int = 0, **patterns) -> dict:
    """A healthy run but for what is given."""
    quiet = dict.fromkeys(
        ["long_tail", "popularity_bias", "cold_item", "short_history", "recent_preference_ignored", "sid_collision"],
        pattern(0.02, 0.02, "no difference shown"),
    )
    near = {"says": "", "finding": "describes the miss", "count": 5, "share": {"mean": 0.05}}
    beam = {"says": "", "finding": "not measured", "why": "no exact ranking"}
    before, after = ({"items": n, "share": n / 200, "sharing": 2 * n, "largest": 2} for n in (4, collisions))
    return {
        "model": model,
        "split": "test",
        "top_k": 10,
        "summary": {"total_samples": 500, "bad_cases_count": 100, "failure_rate": 0.2, "interval": [0.17, 0.23]},
        "failure_patterns": quiet | {"near_miss": near, "beam_loss": beam} | patterns,
        "sid_quality": {"items": 200, "collision": {"before": before, "after": after}},
        "training": None,
        "config": config(*flags),
    }
