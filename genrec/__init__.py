"""LLM generative recommendation: from raw reviews to a language model that recommends, stage by stage."""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """`genrec.load`, `genrec.Recommender` and `genrec.prepare`, imported when they are first asked for."""
    if name == "load":
        from genrec.loading import load

        return load
    if name == "Recommender":
        from genrec.recommender import Recommender

        return Recommender
    if name == "prepare":
        from genrec.stages.prepare import prepare_frames

        return prepare_frames
    raise AttributeError(f"module 'genrec' has no attribute '{name}'")
