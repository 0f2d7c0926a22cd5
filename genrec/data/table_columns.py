"""Which column of a table is what: as data.columns says, else by the names that people give such columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from genrec.data.table_files import Table
from genrec.errors import ConfigError, suggest

# What a column may be called, best first; case, _ - and spaces do not count, so userId is user_id.
GUESSES = {
    "user": "user_id user uid reviewer_id customer_id customer visitor_id member_id session_id",
    "item": "item_id item iid parent_asin asin product_id product movie_id film_id song_id track_id book_id article_id "
    "video_id game_id sku movie film song track book article video game",
    "time": "timestamp time unix_review_time datetime date event_time created_at review_time position "
    "order_number step",
    "rating": "rating overall score stars",
    "event": "event_type event action behavior behaviour behavior_type behaviour_type interaction_type",
    "title": "title item_name name product_title product_name movie_title film_title song_title book_title headline",
    "text": "text description plot overview abstract summary content keywords",
    "brand": "brand store artist author manufacturer publisher",
    "categories": "categories category genres genre tags class category_code",
}
NEEDED = {"events": ("user", "item", "time"), "items": ("item",)}
WANTED = {
    "events": ("user", "item", "time", "rating", "event"),
    "items": ("item", "title", "text", "brand", "categories"),
}
INDEX_NAMES = ("", "unnamed:0", "index", "level0")  # of a frame's index that was saved with it


class Columns(NamedTuple):
    """role -> columns of a table; of `text` there may be several."""

    of: dict[str, tuple[str, ...]]
    others: tuple[str, ...]  # of no role

    def one(self, role: str) -> str | None:
        return self.of.get(role, (None,))[0]

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.of.values() for name in names))

    def describe(self) -> str:
        """'user customer, item sku, time when'"""
        return ", ".join(f"{role} {'+'.join(names)}" for role, names in self.of.items())


def assign_columns(
    table: Table, role: str, given: Mapping[str, str | Sequence[str]], needed: Sequence[str] = ()
) -> Columns:
    """Every role of an events or items table that a column is there for; one of `needed` without is an error."""
    needed = needed or NEEDED[role]
    of: dict[str, tuple[str, ...]] = {}
    taken = {name for names in given.values() for name in as_names(names)}
    for wanted in WANTED[role]:
        names = tuple(name for name in as_names(given.get(wanted, ())) if name in table.columns)
        if wanted not in given or (wanted == "item" and role == "items" and not names):  # events may call it otherwise
            names = guess_columns(table.columns, wanted, taken)
        elif wanted == "item" and names:  # one column a table, each under its own name
            names = names[:1]
        elif len(names) < len(as_names(given[wanted])):
            raise refuse_name(table, wanted, [name for name in as_names(given[wanted]) if name not in table.columns][0])
        if names:
            of[wanted] = names
        elif wanted in needed:
            raise refuse_guess(table, role, wanted, taken, as_names(given.get(wanted, ())))
    used = {name for names in of.values() for name in names}
    others = tuple(name for name in table.columns if name not in used and fold(name) not in INDEX_NAMES)
    return Columns(of, others)


def as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def guess_columns(columns: Sequence[str], wanted: str, taken: set[str]) -> tuple[str, ...]:
    folded = {fold(name): name for name in reversed(columns) if name not in taken}
    return next(((folded[fold(guess)],) for guess in GUESSES[wanted].split() if fold(guess) in folded), ())


def fold(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def refuse_name(table: Table, wanted: str, name: str) -> ConfigError:
    near = suggest(name, list(table.columns))
    return ConfigError(
        f"data.columns.{wanted} '{name}' is no column of {table.name}{near}; it has {quote(table.columns)}"
    )


def refuse_guess(table: Table, role: str, wanted: str, taken: set[str], other: tuple[str, ...] = ()) -> ConfigError:
    """Both sides, and the column whose name comes nearest; `other` is what the role is called in another table."""
    understood = {name for each in WANTED[role] for name in guess_columns(table.columns, each, taken)} | taken
    free = [name for name in table.columns if name not in understood]
    lacks = (
        f"{table.name} has no column that is known to be the {wanted} of {role} ({GUESSES[wanted].split()[0]} and the "
        f"like); it has {quote(table.columns)}"
    )
    if not free:
        also = " (the place in the user's order will do)" if wanted == "time" else ""
        return ConfigError(f"{lacks}, which are taken for something else; add a column{also}")
    near = find_near(free, [*GUESSES[wanted].split(), *other])
    which = f", of which '{near}' comes nearest" if near else ""
    names = ", ".join([*other, near or "COLUMN"])
    flag = f"'[{names}]'" if other else names
    return ConfigError(f"{lacks}{which}; name it: --data.columns.{wanted} {flag}")


LIKE = 0.6  # below it names have letters in common and no more


def find_near(names: Sequence[str], guesses: Sequence[str]) -> str:
    """The name that is most like one of the guesses, the only one there is, or ''."""
    score = {name: max(likeness(fold(name), fold(guess)) for guess in guesses) for name in names}
    near = max(names, key=lambda name: score[name])
    return near if score[near] >= LIKE or len(names) == 1 else ""


def likeness(name: str, guess: str) -> float:
    return difflib.SequenceMatcher(None, name, guess).ratio()


def quote(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:12])
    return shown + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")
