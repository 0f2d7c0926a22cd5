"""Every text UR4Rec puts to a language model, and the plain sentences that stand in for its answers without one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

RECENT_TITLES = 20  # of a user's train prefix that a prompt or sentence shows, the latest ones
TOP_GENRES = 4
PREFERENCE_TOKENS, DESCRIPTION_TOKENS = 200, 150  # the longest answer

SYSTEM = "You write short, factual descriptions for a recommender system. Answer with the text alone."
PREFERENCE = (
    "A person liked these titles, oldest first:\n{titles}\n\n"
    "In two or three sentences say what this person likes: which kinds, which traits, and where the taste is heading. "
    "Do not list the titles."
)
DESCRIPTION = (
    "Title: {title}\nGenres: {genres}\n{given}\n"
    "In one or two sentences say what this is about and whom it may please. Do not invent facts."
)

Item = Mapping[str, Any]  # title, genres, genres_str, description


def preference_prompt(history: Sequence[Item]) -> str:
    """`history` must be of the train prefix: a text about a user may not know what the user is asked for."""
    return PREFERENCE.format(titles="\n".join(f"- {item['title']}" for item in history[-RECENT_TITLES:]))


def description_prompt(item: Item) -> str:
    given = f"Known: {item['description']}\n" if item["description"] else ""
    return DESCRIPTION.format(title=item["title"], genres=item["genres_str"] or "unknown", given=given)


def plain_preference(history: Sequence[Item]) -> str:
    """The same knowledge as the prompt's, in a fixed form: most frequent genres, then the latest titles."""
    counted = Counter(genre for item in history for genre in item["genres"])
    often = sorted(counted, key=lambda genre: (-counted[genre], genre))[:TOP_GENRES]
    titles = "; ".join(item["title"] for item in reversed(history[-RECENT_TITLES:]))
    return f"Likes {', '.join(often) or 'many genres'}. Latest first: {titles}."


def fingerprint() -> str:
    """Hash of every text above; generated files carry that of the texts that asked for them."""
    texts = (SYSTEM, PREFERENCE, DESCRIPTION, RECENT_TITLES, TOP_GENRES, PREFERENCE_TOKENS, DESCRIPTION_TOKENS)
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]
