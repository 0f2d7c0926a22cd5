"""The tasks a language model learns, as data: what is given, what is wanted, and which rows there are.

A task row is one item to answer with (`target`) and, for history tasks, the example it came from. Prompt and answer are
functions of that row alone, for SFT, RL and evaluation alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from genrec.data import prompts
from genrec.data.catalog import Catalog
from genrec.data.given_texts import Preferences
from genrec.data.prepared import Prepared
from genrec.data.profile import Profile, make_profile
from genrec.data.prompts import Prompt, Wording
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError
from genrec.own_tasks import OwnTask, read_task, say
from genrec.sids import SidIndex


@dataclass(frozen=True)
class Task:
    """`given`: "sid history" | "title history" (rows: examples), "sid" | "title" | "description" (rows: items),
    "preference" | "sid history and preference" (rows: examples after a text about their user, Texts.preferences).
    A task of the user's own brings its texts itself (genrec/own_tasks.py).
    """

    given: str
    wanted: str  # "sid" | "title" | "preference"; "text" of a task of the user's own
    name: str = ""  # of a task of the user's own, whose `given` is "history" or "item"
    own: OwnTask | None = None

    @property
    def form(self) -> str:
        """Its name in prompts.prompt_fingerprint(), or in own_fingerprints()."""
        return self.name or prompts.FORM.format(given=self.given, wanted=self.wanted)

    @property
    def gives_sids(self) -> bool:
        """Whether an item stands in the prompt as its semantic ID."""
        return not self.own.part if self.own else self.given.startswith("sid")

    @property
    def from_history(self) -> bool:
        return self.given.endswith("history")

    @property
    def asks_next(self) -> bool:
        """Whether the answer is the semantic ID of a user's next item."""
        return self.wanted == "sid" and (self.from_history or self.of_preference)

    @property
    def of_preference(self) -> bool:
        return "preference" in self.given + self.wanted


TASKS = {
    "sid_to_sid": Task("sid history", "sid"),
    "sid_to_next_title": Task("sid history", "title"),
    "title_history_to_sid": Task("title history", "sid"),
    "title_history_to_title": Task("title history", "title"),
    "title_to_sid": Task("title", "sid"),
    "description_to_sid": Task("description", "sid"),
    "preference_to_sid": Task("preference", "sid"),
    "sid_and_preference_to_sid": Task("sid history and preference", "sid"),
    "sid_to_preference": Task("sid history", "preference"),
    "sid_to_title": Task("sid", "title"),
}
RECOMMEND = TASKS["sid_to_sid"]  # the task that evaluation and serving ask


def find_task(name: str) -> Task:
    """One of ours, or one of the user's."""
    if name in TASKS:
        return TASKS[name]
    own = read_task(name)
    return Task(own.rows, own.wanted, name, own)


def own_fingerprints(names: Iterable[str], language: str = "en") -> dict[str, str]:
    """{name: hash of all that makes its prompts} of those that are the user's own; see prompts.prompt_fingerprint."""
    return {name: prompts.own_fingerprint(name, read_task(name), language) for name in names if name not in TASKS}


@dataclass(frozen=True)
class Texts:
    """What items look like in prompts."""

    catalog: Catalog
    index: SidIndex
    source: str  # data.source, for the nouns where no wording is given
    profile: Profile | None = None
    preferences: Preferences | None = None  # of sft.preferences, while training
    given_wording: Wording | None = None  # of data.noun, data.language and the like

    @property
    def wording(self) -> Wording:
        return self.given_wording or prompts.word_source(self.source)

    def prompt(self, task: Task, items: np.ndarray, user: int = -1, text: int = -1) -> Prompt:
        """The prompt of a task about `items`: a history (oldest first, -1 ignored) of a user, or one item; and of one
        text about the user, by its number."""
        parts = [self.part(task, int(item)) for item in items if item >= 0]
        parts += self.words_on_user(task, text, bool(parts))
        return Prompt(self.head(task), tuple(parts), self.tail(task, items, user))

    def words_on_user(self, task: Task, text: int, after_items: bool) -> list[str]:
        """The last part of a prompt that gives a text about the user, by its number; none of other prompts."""
        if not task.given.endswith("preference") or text < 0:
            return []
        said = self.preference(text)
        return [self.wording.texts.preference.format(text=said) if after_items else said]

    def head(self, task: Task) -> str:
        if task.own:
            return prompts.make_own_head(task.own.instruction, self.wording)
        return prompts.make_head(task.given, task.wanted, self.wording)

    def tail(self, task: Task, items: np.ndarray, user: int) -> str:
        """What follows the items; with a profile it says more of the user."""
        if self.profile is None or not task.from_history:
            return prompts.make_tail(task.given, task.wanted, self.wording)
        companions = [self.index.text(item) for item in self.profile.companions(items, user)]
        return prompts.make_profile_tail(self.profile.favourites(items), companions, self.wording)

    def part(self, task: Task, item: int) -> str:
        if task.gives_sids:
            return self.index.text(item)
        if task.own and task.own.part:
            return say(task.name, "part", task.own.part, self.catalog, item)
        text = self.catalog.text[item] if task.given == "description" else self.catalog.title[item]
        return f"{text}\n" if task.given == "title history" else str(text)

    def preference(self, number: int) -> str:
        assert self.preferences is not None, "only training with sft.preferences asks for texts about users"
        return str(self.preferences.text[number])

    def answer(self, task: Task, item: int) -> str:
        """`item` is the number of a text where that is wanted."""
        if task.wanted == "preference":
            return self.preference(item)
        if task.own and task.own.answer:
            return say(task.name, "answer", task.own.answer, self.catalog, item)
        return self.index.text(item) if task.wanted == "sid" else str(self.catalog.title[item])


def make_texts(
    data: Prepared, index: SidIndex, source: str, profile: list[str], wording: Wording | None = None
) -> Texts:
    """`profile` is sft.profile, `wording` what items are called where not as the source has it; a model
    directory carries both, so that everybody asks the model as it was taught.

    The index may hold more items than the catalogue: those that came since, which no history names.
    """
    if len(index) < len(data.catalog):
        raise ArtifactError(
            f"the semantic IDs are of {len(index)} items, the catalogue has {len(data.catalog)}; make them anew"
        )
    of_users = make_profile(data, profile) if profile else None
    return Texts(data.catalog, index, source, of_users, given_wording=wording)


def draw_row_numbers(
    task: Task,
    share: float,
    target: np.ndarray,
    catalog: Catalog,
    rng: np.random.Generator,
    items: np.ndarray | None = None,
) -> np.ndarray:
    """The rows of a task: numbers of examples, whose targets are given (E,), or of items, among `items` (N,) bool."""
    if task.own:
        fit = find_own_rows(task, target, catalog)
    elif task.from_history:
        return draw_copies(len(target), share, rng)
    else:
        fit = np.flatnonzero(catalog.text != "") if task.given == "description" else np.arange(len(catalog))
    if items is not None and not task.from_history:
        fit = fit[items[fit]]
    return fit[draw_copies(len(fit), share, rng)]


def find_own_rows(task: Task, target: np.ndarray, catalog: Catalog) -> np.ndarray:
    """Rows of a task of the user's own that have something to ask and to answer; ArtifactError where none has."""
    assert task.own is not None, "only a task of the user's own leaves rows out so"
    of_item = {"answer": task.own.answer} | ({} if task.from_history else {"part": task.own.part})
    asked = np.unique(target) if task.from_history else np.arange(len(catalog))
    known = np.zeros(len(catalog), dtype=bool)
    known[asked] = True
    for what, words in of_item.items():
        if words:
            known[asked] &= [say(task.name, what, words, catalog, item) != "" for item in asked.tolist()]
    rows = np.flatnonzero(known[target] if task.from_history else known)
    if not len(rows):
        raise ArtifactError(f"task {task.name} has no row: its texts are empty for all {len(asked):,} items asked")
    return rows


def take_row(task: Task, examples: Examples, row: int) -> tuple[np.ndarray, int]:
    """(items given, target item) of one of those numbers."""
    if task.from_history:
        return examples.history[row], int(examples.target[row])
    return np.array([row]), int(row)


def repeat_rows(count: int, share: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers, each list in order: all rows floor(share) times, then a random part for the rest."""
    whole, rest = int(share), share - int(share)
    for _ in range(whole):
        yield np.arange(count)
    if extra := round(count * rest):
        yield np.sort(rng.choice(count, size=extra, replace=False))


def draw_copies(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """All copies in one list, in row order."""
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *repeat_rows(count, share, rng)]))
