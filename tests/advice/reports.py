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


QUIET = [
    "long_tail",
    "popularity_bias",
    "cold_item",
    "short_history",
    "recent_preference_ignored",
    "sid_collision",
    "tied_target",
    "repeat_purchase_missed",
]


def config(*flags: str) -> dict:
    pinned = [
        word
        for section, keys in RUN.items()
        for key, value in keys.items()
        for word in (f"--{section}.{key}", value if isinstance(value, str) else json.dumps(value))
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


def trained(*scores: float, best_at: float = 1.0) -> dict:
    """How a training went, by its validations."""
    return {
        "stage": "sft",
        "best_at": best_at,
        "unit": "steps",
        "length": 10 * len(scores),
        "metric": "ndcg@10",
        "curve": [{"step": 10 * (i + 1), "ndcg@10": score} for i, score in enumerate(scores)],
        "losses": [],
    }


def report(model: str = "sft", flags: tuple[str, ...] = (), collisions: int = 0, **patterns) -> dict:
    """A healthy run but for what is given."""
    quiet = dict.fromkeys(QUIET, pattern(0.02, 0.02, "no difference shown"))
    near = {"says": "", "finding": "describes the miss", "count": 5, "share": {"mean": 0.05}}
    mismatch = near | {"share": {"mean": 0.1}}
    beam = {"says": "", "finding": "not measured", "why": "no exact ranking"}
    before, after = ({"items": n, "share": n / 200, "sharing": 2 * n, "largest": 2} for n in (4, collisions))
    ahead = {name: {"ahead": {"mean": 0.1, "low": 0.05, "high": 0.15}} for name in ("popular", "last_item", "item_knn")}
    nothing = {"mean": 0.0, "low": -0.01, "high": 0.01}
    return {
        "model": model,
        "split": "valid",
        "top_k": 10,
        "summary": {"total_samples": 500, "bad_cases_count": 100, "failure_rate": 0.2, "interval": [0.17, 0.23]},
        "failure_patterns": quiet | {"near_miss": near, "beam_loss": beam, "category_mismatch": mismatch} | patterns,
        "metrics": {"ndcg@10": {"mean": 0.5, "low": 0.4, "high": 0.6}},
        "seen_items": {"filtered": False, "listed": 0.0, "repeats": 0.0, "gain": nothing},
        "baselines": {"valid": ahead, "test": {}},
        "history": {"kept": 10, "longer": 20, "cut": 0.5, "gain": nothing},
        "prompts": {"cutoff_len": 256, "cut": 0.0, "longest": 40},
        "ties": {"order": "file"},
        "rl_kept": True if model == "rl" else None,
        "sid_quality": {"items": 200, "collision": {"before": before, "after": after}},
        "training": None,
        "config": config(*flags),
    }


MEASURED = ("split", "top_k", "summary", "failure_patterns", "metrics", "seen_items")


def written(report: dict) -> dict:
    """The same as an analysis writes it: what is measured of valid rows apart, that of test rows at the top."""
    return report | {"split": "test", "valid": {key: report[key] for key in MEASURED}}
