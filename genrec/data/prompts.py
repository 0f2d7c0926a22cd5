"""Every prompt of the system: SFT, RL, evaluation and serving build theirs here and nowhere else.

A prompt is a head, parts (one a history item, oldest first) and a tail. The pieces are tokenised one by one, so that a
history is a prefix of the longer history of the same user, token by token. From a SID history to the next SID the tail
is empty: the answer continues the history, and one sequence holds the prompts and answers of all its targets. A profile
of the user stands in the tail, behind the history, so histories of one user still begin alike.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

# data.source -> (one item, several, what users did with them)
NOUNS = {
    "amazon18": ("product", "products", "bought"),
    "amazon23": ("product", "products", "bought"),
    "minionerec": ("product", "products", "bought"),
    "toy": ("product", "products", "bought"),
    "table": ("item", "items", "chosen"),
    "movielens": ("movie", "movies", "watched"),
}

# (what is given, what is wanted) -> instruction
INSTRUCTIONS = {
    ("sid history", "sid"): "Continue the semantic IDs of the {items} {bought}, oldest first.",
    ("sid history", "title"): "Predict the title of the next {item} from the {items} {bought}, oldest first.",
    ("title history", "sid"): "Predict the semantic ID of the next {item} from the titles {bought}, oldest first.",
    ("title history", "title"): "Predict the title of the next {item} from the titles {bought}, oldest first.",
    ("title", "sid"): "Give the semantic ID of the {item} with this title.",
    ("sid history and preference", "sid"): "Predict the semantic ID of the next {item} from the {items} {bought}, "
    "oldest first, and from what is said of the user.",
    ("sid history", "preference"): "Say of the user what the {items} {bought} tell, oldest first.",
    ("preference", "sid"): "Predict the semantic ID of a next {item} from what is said of the user.",
    ("description", "sid"): "Give the semantic ID of the {item} with this description.",
    ("sid", "title"): "Give the title of the {item} with this semantic ID.",
}
HEAD = "### Instruction:\n{instruction}\n### Input:\n"
TAIL = "\n### Response:\n"
CONTINUED = ("sid history", "sid")  # its answer follows without a tail
PREFERENCE = "\nThe user: {text}"
PROFILE = "\nMostly {bought}: {favourites}"
COMPANIONS = "\nOthers {bought} with these: {sids}"
FORM = "{given} -> {wanted}"  # the name of a form of prompt, in fingerprints


@dataclass(frozen=True)
class Prompt:
    """Text pieces of one prompt."""

    head: str
    parts: tuple[str, ...]
    tail: str

    @property
    def text(self) -> str:
        return self.head + "".join(self.parts) + self.tail


class Tokenizer(Protocol):
    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...


def make_head(given: str, wanted: str, source: str) -> str:
    item, items, bought = NOUNS[source]
    instruction = INSTRUCTIONS[given, wanted].format(item=item, items=items, bought=bought)
    return HEAD.format(instruction=instruction)


def make_tail(given: str, wanted: str) -> str:
    return "" if (given, wanted) == CONTINUED else TAIL


def make_profile_tail(favourites: list[str], companions: list[str], source: str) -> str:
    """The tail of a history prompt that says more of the user; what is not known is left out."""
    favourite = ", ".join(filter(None, favourites))
    lines = [PROFILE.format(bought=NOUNS[source][2], favourites=favourite)] if favourite else []
    lines += [COMPANIONS.format(bought=NOUNS[source][2], sids="".join(companions))] if companions else []
    return "".join(lines) + TAIL


def prompt_fingerprint() -> dict[str, str]:
    """Hash of each text above, by what it is for: a form such as "title -> sid", a source, a part of the profile.

    A model directory carries those it was trained with; a text that nobody asks it with may change or be added.
    """
    parts: dict[str, tuple[str, ...]] = {"taste": (PROFILE, TAIL), "companions": (COMPANIONS, TAIL), **NOUNS}
    for (given, wanted), instruction in INSTRUCTIONS.items():
        said = (PREFERENCE,) if given.endswith("and preference") else ()
        parts[FORM.format(given=given, wanted=wanted)] = (HEAD, instruction, *said, make_tail(given, wanted))
    return {name: hashlib.sha256(repr(texts).encode()).hexdigest()[:16] for name, texts in parts.items()}


class Encoder:
    """Pieces -> token ids, each distinct piece tokenised once."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def piece(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.known[text]

    def prompt(self, prompt: Prompt, limit: int) -> list[int]:
        """At most `limit` ids: the oldest parts go first, then the front of the one part that is left."""
        head, tail = self.piece(prompt.head), self.piece(prompt.tail)
        parts = [self.piece(part) for part in prompt.parts]
        room = limit - len(head) - len(tail)
        while len(parts) > 1 and sum(map(len, parts)) > room:
            parts.pop(0)
        body = [token for part in parts for token in part]
        return head + body[: max(room, 0)] + tail
