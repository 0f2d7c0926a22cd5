"""Which item is meant by a title: the same words, else the same in other letters, else the nearest of the catalogue.

Likeness is difflib's ratio: 2 M / T, with M the characters that both have in common runs and T those of both, after
case folding; 1 for equal titles. Of equally near titles the one that is taken more often, then the first.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from genrec.errors import ConfigError


@dataclass(frozen=True)
class TitleMatch:
    asked: str
    item: int
    title: str
    likeness: float  # 1 where equal, letters' case aside
    exact: bool


def find_titles(asked: list[str], titles: np.ndarray, popularity: np.ndarray) -> list[TitleMatch]:
    """One item for each title; titles (N,), popularity (N,)."""
    if blank := [title for title in asked if not title.strip()]:
        raise ConfigError(f"a title must have a letter, found {blank[0]!r}")
    order = np.argsort(-popularity, kind="stable")  # (N,) so that the first of equals is the more popular
    exact, folded = {}, {}
    for item in order[::-1].tolist():
        exact[titles[item]] = folded[fold(str(titles[item]))] = item
    return [find_title(text, titles, exact, folded, order) for text in asked]


def find_title(
    text: str, titles: np.ndarray, exact: dict[str, int], folded: dict[str, int], order: np.ndarray
) -> TitleMatch:
    if text in exact:
        return TitleMatch(text, exact[text], text, 1.0, True)
    if (item := folded.get(fold(text))) is not None:
        return TitleMatch(text, item, str(titles[item]), 1.0, False)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(fold(text))
    best, likeness = int(order[0]), -1.0
    for item in order.tolist():
        matcher.set_seq1(fold(str(titles[item])))
        if matcher.real_quick_ratio() > likeness and matcher.quick_ratio() > likeness:
            ratio = matcher.ratio()
            if ratio > likeness:
                best, likeness = item, ratio
    return TitleMatch(text, best, str(titles[best]), likeness, False)


def fold(text: str) -> str:
    return " ".join(text.casefold().split())
