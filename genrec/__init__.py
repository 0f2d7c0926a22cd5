"""LLM generative recommendation: from raw reviews to a language model that recommends, stage by stage."""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """`genrec.prepare`, `genrec.load` and `genrec.Recommender`, imported when they are first asked for."""
    if name == "prepare":
        from genrec.stages.prepare import prepare_frames

        return prepare_frames
    if name not in ("load", "Recommender"):
        raise AttributeError(f"module 'genrec' has no attribute '{name}'")
    from genrec import recommender

    return getattr(recommender, name)
