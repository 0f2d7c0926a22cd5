"""What is asked and answered, as the OpenAPI page shows it; and the two tasks of the decode thread.

k items a list, N items
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from genrec.experiments.assignment import Arm
from genrec.experiments.statistics.slate_sampling import sample_slates
from genrec.recommender import Recommender
from genrec.serving.catalogue import Version, are_proven, join_histories

LONGEST_HISTORY = 1000  # items
LONGEST_RULE = 10_000  # items of allow, of deny
MOST_QUESTIONS = 100  # of /recommend/batch
MOST_EVENTS = 1000

Word = Annotated[str, Field(min_length=1, max_length=2000, description="the shop's item id, or an exact title")]
NO_NUL = r"^[^\x00]+$"  # which PostgreSQL's text cannot hold
User = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL, description="the shop's user id")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Asker(Body):
    """Whom for: exactly one of the two."""

    user: User | None = Field(None, description="a user of the run, or of earlier events")
    history: list[Word] | None = Field(None, max_length=LONGEST_HISTORY, description="items, oldest first")
    model: Annotated[str, Field(max_length=100)] | None = Field(None, description="one of those served")

    @model_validator(mode="after")
    def name_one(self) -> Asker:
        if (self.user is None) == (self.history is None):
            raise ValueError("whom for? give either user or history, a list of item ids")
        return self


class Question(Asker):
    k: int = Field(10, ge=1, description="items a list")
    exclude_seen: bool = Field(True, description="leave out all that the user had")
    allow: list[Word] | None = Field(None, min_length=1, max_length=LONGEST_RULE, description="nothing else is listed")
    deny: list[Word] = Field([], max_length=LONGEST_RULE, description="these are not listed")
    deadline: float | None = Field(None, gt=0, allow_inf_nan=False, description="seconds; at most the server's")


class Questions(Body):
    requests: list[Question] = Field(min_length=1, max_length=MOST_QUESTIONS)


class Listed(BaseModel):
    item: int = Field(description="number of the item in this version of the catalogue")
    id: str
    title: str
    score: float = Field(description="the model's own: of a language model the log-probability of the code path")


class Answer(BaseModel):
    items: list[Listed]
    exact: bool = Field(description="proven: no other item that may be listed scores higher")
    model: str
    version: str = Field(description="of the catalogue and its models")
    cold: bool = Field(description="nothing is known of the user, so these are the popular items")
    experiment: str | None = Field(None, description="that the answer is part of")
    arm: str | None = Field(None, description="of the experiment; two joined by + where their lists are interleaved")
    request: str | None = Field(None, description="the answer's own name in the experiment's log")
    propensities: list[float] | None = Field(
        None, description="of a list that was drawn by chance: each item's probability given those above it"
    )


class Answers(BaseModel):
    answers: list[Answer]


class ExplainQuestion(Asker):
    item: Word


class Level(BaseModel):
    level: int
    code: str
    probability: float = Field(description="of the code after those before it; the product is exp(score)")
    items: int = Field(description="whose path begins so")
    words: str = Field(description="the commonest among these items that are rarer elsewhere")
    categories: str


class Explanation(BaseModel):
    item: Listed
    levels: list[Level]
    model: str
    version: str


class Events(Body):
    user: User
    items: list[Word] = Field(min_length=1, max_length=MOST_EVENTS, description="oldest first")


class Kept(BaseModel):
    user: str
    events: int = Field(description="that are kept of the user now")


class Removed(BaseModel):
    events: int = Field(description="that were removed; the data artifact's past of the user is not used any more")


class Found(BaseModel):
    item: int
    id: str
    title: str
    count: int = Field(description="how often it was taken in training")


class FoundItems(BaseModel):
    items: list[Found]
    version: str


class UsersFound(BaseModel):
    users: list[str]


class PastItem(BaseModel):
    item: int
    id: str
    title: str


class UserPast(BaseModel):
    user: str
    events: int = Field(description="of the user in all; `items` has the latest of them")
    items: list[PastItem] = Field(description="oldest first")
    version: str


class Reason(BaseModel):
    cause: str
    says: str


class HeldOutEvent(BaseModel):
    item: PastItem = Field(description="what the user took, and the model did not see")
    rank: int | None = Field(description="its place in the list of the evaluation; null where it is not listed")
    missed: bool = Field(description="not among the first `top_k`")
    causes: list[Reason]


class Missed(BaseModel):
    user: str
    model: str
    version: str
    split: str | None = Field(description="whose rows they are")
    top_k: int | None
    rows: list[HeldOutEvent]
    none_because: str | None = Field(description="where there are no rows")


# Operations


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class Served(BaseModel):
    """A version as it stands in memory."""

    version: str
    place: str
    models: list[str]
    items: int = Field(description="that may be listed")
    retired: int
    loaded: str = Field(description="when, in UTC")
    seconds: float = Field(description="it took to load and check")


class WorkerReport(BaseModel):
    worker: int = Field(description="its process")
    turn: int = Field(description="of the version file, up to which it has followed")
    version: str
    previous: str | None
    last_error: str | None = Field(description="why it did not follow")


class CatalogStatus(BaseModel):
    current: Served
    previous: Served | None = Field(description="what a rollback takes")
    loading: bool
    last_error: str | None = Field(description="why the last reload failed, where it did")
    workers: list[WorkerReport] = Field([], description="of several behind one port")
    agreed: bool = Field(True, description="all workers serve one version")


class RunningExperiment(BaseModel):
    """Without its salt: who knows it can choose a user id that falls into an arm."""

    interleave: bool
    sampled: float
    temperature: float
    arms: dict[str, Arm]


class RunningExperiments(BaseModel):
    experiments: dict[str, RunningExperiment]


# Tasks of the decode thread


@dataclass(frozen=True)
class Draw:
    """How a list is drawn by chance."""

    temperature: float
    generator: np.random.Generator  # used by the decode thread alone


@dataclass(frozen=True, eq=False)
class ListTask:
    """One list. Those of a version, a model, a length and an allow list are computed together."""

    version: Version
    model: str
    history: np.ndarray  # (n,) item numbers, oldest first
    user: int  # number in the run, -1 for others
    k: int
    without: np.ndarray  # item numbers that the list may not hold: seen and denied ones
    closed: np.ndarray  # those that are not among the allowed ones
    draw: Draw | None = None  # of the list, by chance; else it is the best. Asks for a history

    @property
    def group(self) -> Hashable:
        return self.version, self.model, self.k, self.closed.tobytes(), self.draw

    def run(self, tasks: Sequence[ListTask]) -> list[Answer]:
        shop = self.version.models[self.model]
        rows = join_histories([task.history for task in tasks], [task.user for task in tasks])
        without = [task.without for task in tasks]
        if self.draw is not None:
            return self.draw_lists(self.draw, shop.score_all(rows, without, self.closed))
        family = shop.widen(self.k, self.closed)
        ranked = shop.rank_block(family, rows, self.k, without, self.closed)
        lists = zip(
            ranked.item.tolist(),
            ranked.score.tolist(),
            are_proven(shop, ranked).tolist(),
            ranked.cold.tolist(),
            strict=True,
        )
        return [
            Answer(
                items=self.list_items(items, scores), exact=exact, model=self.model, version=self.version.name, cold=new
            )
            for items, scores, exact, new in lists
        ]

    def draw_lists(self, draw: Draw, scores: np.ndarray) -> list[Answer]:
        """(B, N) scores of all items -> a list of each row by Gumbel top-k; where few may be listed all of them."""
        answers = []
        for own in scores:
            length = min(self.k, int(np.isfinite(own).sum()))
            drawn = sample_slates(own[None], length, draw.generator, draw.temperature)
            items, propensities = drawn.items[0].tolist(), drawn.propensities[0].tolist()
            answers.append(
                Answer(
                    items=self.list_items(items, own[items].tolist()),
                    exact=False,
                    model=self.model,
                    version=self.version.name,
                    cold=False,
                    propensities=propensities,
                )
            )
        return answers

    def list_items(self, items: list[int], scores: list[float]) -> list[Listed]:
        pairs = zip(items, scores, strict=True)
        return [list_item(self.version, item, score) for item, score in pairs if item >= 0]


@dataclass(frozen=True, eq=False)
class ExplainTask:
    """Why an item. Alone in its group."""

    version: Version
    model: str
    history: np.ndarray
    item: int

    @property
    def group(self) -> Hashable:
        return self

    def run(self, tasks: Sequence[ExplainTask]) -> list[Explanation]:
        shop: Recommender = self.version.models[self.model]
        ids = self.version.words.item_id
        levels = shop.explain([ids[item] for item in self.history.tolist()], ids[self.item]).to_dicts()
        score = float(np.log([row["probability"] for row in levels]).sum())
        item = list_item(self.version, self.item, score)
        shown = [Level(**row) for row in levels]
        return [Explanation(item=item, levels=shown, model=self.model, version=self.version.name)]


def list_item(version: Version, item: int, score: float) -> Listed:
    return Listed(item=item, id=version.words.item_id[item], title=version.words.title[item], score=score)


Task = ListTask | ExplainTask
Result = Any
