"""What is served: a version of the catalogue with its models, another loaded beside it, swapped, rolled back.

A version is loaded and checked while the one before it answers; a request keeps the version that it was read with, so
no answer mixes two. What cannot be loaded, or fails its self-test, leaves the old one serving.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.data.histories import Histories, count_offsets, exclude
from genrec.errors import ArtifactError, ConfigError, first_line
from genrec.pipeline import FAMILY_READS, command_of
from genrec.recommender import Ranked, Recommender
from genrec.serving.words import ItemWords, make_words

if TYPE_CHECKING:
    from genrec.models.generative import GenerativeRecommender

KNOWN = 10  # requests of the self-test
LIST = 10  # items of each
NONE = np.zeros(0, dtype=np.int32)  # no item
NEAR = 1e-3  # by which a log-probability may differ between two ways to compute it in float32
COARSE = 0.3  # the same in bfloat16

log = logging.getLogger("genrec.serving")

Load = Callable[[Path], list[Recommender]]  # a place -> the models asked for, the default first


@dataclass(frozen=True, eq=False)
class Version:
    """A catalogue and the models that speak of it. Equal names, equal artifacts."""

    name: str
    models: dict[str, Recommender]  # by family, the default first
    words: ItemWords
    listable: int  # items that are not retired
    origin: Path  # where it was loaded, behind all links
    loaded: float  # time.time()
    seconds: float  # it took to load and check

    @property
    def first(self) -> Recommender:
        return next(iter(self.models.values()))

    @cached_property
    def user_number(self) -> dict[str, int]:
        """Users of the run; of a model without its run there are none."""
        sequences = self.first.sequences
        return {} if sequences is None else {str(name): number for number, name in enumerate(sequences.user_id)}

    def past(self, user: str) -> np.ndarray:
        """(n,) int32 items that the data artifact has of a user, oldest first."""
        number, sequences = self.user_number.get(user), self.first.sequences
        if number is None or sequences is None:
            return np.zeros(0, dtype=np.int32)
        return sequences.item[sequences.offset[number] : sequences.offset[number + 1]].astype(np.int32)

    def describe(self) -> dict[str, Any]:
        return {
            "version": self.name,
            "place": str(self.first.place),
            "models": list(self.models),
            "items": self.listable,
            "retired": len(self.words) - self.listable,
            "loaded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.loaded)),
            "seconds": round(self.seconds, 2),
        }


def make_version(place: Path, load: Load) -> Version:
    """Load, name and test; ArtifactError or ConfigError says what is wrong."""
    begin, before = time.perf_counter(), stamp(place)
    origin = place.resolve() if place.exists() else place  # else a name of the hub
    shops = load(place)
    for shop in filter(is_alone, shops):
        require_whole(shop.place)
    first, name = shops[0], name_version(shops)
    if stamp(place) != before:
        raise ArtifactError(f"{place} was changed while it was loaded; reload once what changes it has ended")
    for shop in shops[1:]:
        if not np.array_equal(shop.catalog.item_id, first.catalog.item_id):
            raise ArtifactError(
                f"'{shop.model}' lists {len(shop.catalog):,} items, '{first.model}' {len(first.catalog):,}: they know "
                "other catalogues, so one server cannot offer both"
            )
    words = make_words(first.catalog.item_id, first.catalog.title, first.train_count)
    listable = len(words) if first.allowed is None else int(first.allowed.sum())
    for shop in shops:
        test_itself(shop)
    models, seconds = {shop.model: shop for shop in shops}, time.perf_counter() - begin
    version = Version(name, models, words, listable, origin, time.time(), seconds)
    assert version.user_number is not None  # made now, and not at the first request
    return version


def require_whole(place: Path) -> None:
    """A model directory that is an artifact is held against the hashes of its manifest."""
    manifest = read_manifest(place)
    if manifest is not None:
        artifacts.require(place, command_of(manifest.stage))


def stamp(place: Path) -> dict[str, bytes]:
    """What a place says of itself: the manifests and cards below it."""
    names = (artifacts.MANIFEST, artifacts.CARD)
    return {str(path): path.read_bytes() for name in names for path in sorted(place.glob(f"**/{name}"))}


def name_version(shops: Sequence[Recommender]) -> str:
    """A hash of what the models were made of."""
    parts = {}
    for shop in shops:
        reads = {"": shop.place} if is_alone(shop) else {place.name: place for place in places_of(shop)}
        parts[shop.model] = {name: artifacts.directory_fingerprint(place) for name, place in reads.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def is_alone(shop: Recommender) -> bool:
    """A model directory without its run."""
    return shop.sequences is None


def places_of(shop: Recommender) -> list[Path]:
    """The artifacts of a run that a model reads, and the grown SIDs where they are in use."""
    sids = [path for path in sorted((shop.place / "sids").glob("*")) if read_manifest(path)]
    grown = [] if shop.allowed is None else [shop.place / "sids_grown"]
    stages = [shop.place / name for name in ("data", *FAMILY_READS[shop.model]) if name != "sids"]
    return [*dict.fromkeys([*stages, *sids, *grown])]


# The self-test


def test_itself(shop: Recommender) -> None:
    """Ten known requests, at once and one by one: whole lists of distinct, allowed, unseen items, the same both times.

    A language model's first score is also held against the sum over its codes, computed without a search.
    """
    histories = known_histories(shop)
    family, seen = shop.widen(LIST, NONE), split(histories)
    together = shop.rank_block(family, histories, LIST, seen, NONE)
    listable = len(shop.catalog) if shop.allowed is None else int(shop.allowed.sum())
    searched = are_proven(shop, together) | (not can_prove(shop))  # to its end
    for row, own in enumerate(seen):
        item, score = together.item[row], together.score[row]
        listed = item[item >= 0]
        length = min(LIST, listable - len(np.unique(own)))
        if len(np.unique(listed)) < (length if searched[row] else len(listed)):
            raise broken(shop, f"request {row} has {len(np.unique(listed))} distinct items in a list of {length}")
        if not np.isfinite(score[item >= 0]).all() or (np.diff(score[item >= 0]) > 0).any():
            raise broken(shop, f"request {row} has scores that are no falling numbers")
        if np.isin(listed, own).any() or (shop.allowed is not None and not shop.allowed[listed].all()):
            raise broken(shop, f"request {row} lists an item that is seen or retired")
        check_alone(shop, family, histories.take(row, row + 1), own, score)


def are_proven(shop: Recommender, ranked: Ranked) -> np.ndarray:
    """(E,) whether no other item scores higher: a frontier says so, beams never do, what scores every item always."""
    if shop.model.endswith("_exact") or "sids" not in FAMILY_READS[shop.model]:
        return np.ones(len(ranked.cold), dtype=bool)
    return np.isneginf(ranked.bound) if can_prove(shop) else ranked.cold


def can_prove(shop: Recommender) -> bool:
    """Whether a frontier searches."""
    model = find_language_model(shop)
    return model is not None and model.decoding.proves


def find_language_model(shop: Recommender) -> GenerativeRecommender | None:
    """None where the family is another one, or is not computed by torch."""
    try:
        return shop.language_model()
    except ConfigError:
        return None


def check_alone(shop: Recommender, family: Any, history: Histories, own: np.ndarray, score: np.ndarray) -> None:
    """One request of the self-test by itself: the scores of the batch, and of the first item's codes."""
    near = tolerance(shop)
    ranked = shop.rank_block(family, history, LIST, [own], NONE)
    item, alone = ranked.item[0], ranked.score[0]
    there = item >= 0
    if not np.allclose(alone[there], score[: there.sum()], atol=near, rtol=near):
        raise broken(shop, f"scores differ with the batch: {alone[0]:.5f} alone, {score[0]:.5f} among others")
    model = find_language_model(shop)
    if model is not None and there.any():
        total = float(model.score_levels(history.examples(shop.max_history, exclude([own])), int(item[0])).sum())
        if abs(total - alone[0]) > near * max(1, abs(total)):
            raise broken(shop, f"the first item scores {alone[0]:.5f}, its codes {total:.5f}")


def tolerance(shop: Recommender) -> float:
    """Graphs in small numbers round by the batch."""
    if not shop.is_language_model:
        return NEAR
    model = find_language_model(shop)
    return NEAR if model is not None and str(model.model.model.dtype) == "torch.float32" else COARSE


def broken(shop: Recommender, what: str) -> ArtifactError:
    return ArtifactError(f"{shop.place}: '{shop.model}' fails its self-test: {what}")


def known_histories(shop: Recommender) -> Histories:
    """Users of the run, evenly drawn; of a model alone the popular items in turn."""
    if shop.sequences is not None:
        chosen = np.unique(np.linspace(0, len(shop.sequences) - 1, KNOWN).astype(np.int64))
        users = shop.all_users().select(chosen)
        return users.select(np.flatnonzero(np.diff(users.offset) > 0))
    order = np.argsort(-shop.train_count, kind="stable").astype(np.int32)
    lists = [order[start : start + 3] for start in range(min(KNOWN, max(len(order) - 3, 1)))]
    return join_histories(lists, [-1] * len(lists))


def split(histories: Histories) -> list[np.ndarray]:
    return [histories.item[a:b] for a, b in zip(histories.offset[:-1], histories.offset[1:], strict=True)]


def join_histories(lists: Sequence[np.ndarray], users: Sequence[int]) -> Histories:
    """Item numbers, oldest first, and the users' numbers in the run, -1 for others."""
    length = np.array([len(each) for each in lists], dtype=np.int64)
    item = np.concatenate([np.zeros(0, dtype=np.int32), *lists]).astype(np.int32)
    names = np.full(len(lists), "-", dtype=object)
    return Histories(names, item, count_offsets(length), np.array(users, dtype=np.int32))


# Reload and rollback


class Unchanged(RuntimeError):
    """Why the catalogue stays as it is."""


class Catalogue:
    """The version that answers, and the one before it. Changed in the event loop only."""

    def __init__(self, place: Path, load: Load, origin: Path | None = None):
        """`origin` is what to begin with, where that is another place than the next reload's."""
        self.place, self.load = place, load
        self.current = make_version(origin or place, load)
        self.previous: Version | None = None
        self.loading = False
        self.last_error: str | None = None
        self.accept: Callable[[Version], None] = lambda version: None  # ConfigError: not to be served
        self.changed: Callable[[Version], None] = lambda version: None

    async def reload(self) -> Version:
        """Load beside, check, swap; Unchanged with the reason where that fails.

        Equal artifacts are the same version, and nothing is swapped.
        """
        version = await self.load_beside(self.place)
        if version.name != self.current.name:
            self.swap(version)
        return self.current

    async def take(self, name: str, origin: Path) -> Version:
        """The version that another process serves, from memory or from where that one loaded it."""
        if self.previous is not None and self.previous.name == name:
            self.swap(self.previous)
        elif self.current.name != name:
            self.swap(await self.load_beside(origin, name))
        return self.current

    async def load_beside(self, place: Path, name: str | None = None) -> Version:
        """A version, checked, while the current one answers; Unchanged where it fails, or has another name."""
        if self.loading:
            raise Unchanged("another reload is under way")
        self.loading = True
        try:
            version = await asyncio.to_thread(make_version, place, self.load)
            if name is not None and version.name != name:
                raise ArtifactError(f"{place} holds version {version.name} by now")
            self.accept(version)
        except Exception as error:
            self.last_error = self.explain(error)
            raise Unchanged(f"{self.last_error}; version {self.current.name} goes on serving") from error
        finally:
            self.loading = False
        self.last_error = None
        return version

    def explain(self, error: Exception) -> str:
        """A sentence of ours as it stands; what we did not expect goes to the log too."""
        if isinstance(error, ArtifactError | ConfigError):
            return str(error)
        log.error("a reload failed", exc_info=error)
        return f"{type(error).__name__}: {first_line(error)}"

    def rollback(self) -> Version:
        """The version before; a second call takes the newer one again."""
        if self.previous is None:
            raise Unchanged(f"there is no version before {self.current.name}")
        self.swap(self.previous)
        return self.current

    def swap(self, version: Version) -> None:
        self.previous, self.current = self.current, version
        self.changed(version)

    def status(self) -> dict[str, Any]:
        return {
            "current": self.current.describe(),
            "previous": self.previous and self.previous.describe(),
            "loading": self.loading,
            "last_error": self.last_error,
        }
