"""Every model family by name, and how it is made ready. All answer `recommend(examples, k)`.

What each reads from the run stands in genrec/pipeline.py, FAMILY_READS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from genrec import artifacts
from genrec.config import Evaluation
from genrec.data.prepared import Prepared
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError, first_line
from genrec.evaluation.metrics import CUTOFFS, ListSettings, Recommendations, TargetRanks, check_recommendations
from genrec.models.card import require_card
from genrec.pipeline import FAMILY_READS
from genrec.plugins import BASELINE, call_plugin, load_plugin
from genrec.store import RunStore

# Imports of the families themselves wait until one is loaded: `--help` and a table of baselines need no torch.


class Recommender(Protocol):
    def recommend(self, examples: Examples, k: int) -> Recommendations: ...


@runtime_checkable
class Widening(Protocol):
    """A family whose search ends with as many items as it carries along."""

    def recommend(self, examples: Examples, k: int) -> Recommendations: ...

    def widen(self, k: int) -> Widening: ...


@runtime_checkable
class Ranking(Protocol):
    """A family that can tell where an item stands that no list holds."""

    def rank_targets(self, examples: Examples) -> TargetRanks: ...


@runtime_checkable
class Searching(Protocol):
    """A family that searches, and can score every item instead."""

    def recommend(self, examples: Examples, k: int) -> Recommendations: ...

    def exactly(self) -> Searching: ...


@dataclass(frozen=True)
class Request:
    """What a family may ask for when it is made ready."""

    store: RunStore
    data: Prepared
    settings: Evaluation
    device: str  # run.device


Load = Callable[[Request], Recommender]


def load_popular(request: Request) -> Recommender:
    from genrec.models.popular import fit_popular

    return fit_popular(request.data.train_count)


def load_popular_recent(request: Request) -> Recommender:
    from genrec.models.popular import fit_popular_recent

    data = request.data
    return fit_popular_recent(data.sequences, data.seen, len(data.catalog), request.settings.recent_share)


def load_last_item(request: Request) -> Recommender:
    from genrec.models.popular import fit_last_item

    return fit_last_item(request.data.sequences, request.data.seen, request.data.train_count)


def load_item_knn(request: Request) -> Recommender:
    from genrec.models.knn import fit_knn

    return fit_knn(request.data.sequences, request.data.seen, request.data.train_count)


def sequential_loader(name: str) -> Load:
    def load(request: Request) -> Recommender:
        from genrec.models.sasrec import load_sasrec

        return load_sasrec(request.store.sequential_model(name), request.device)

    return load


def generative_loader(stage: str, exact: bool = False) -> Load:
    def load(request: Request) -> Recommender:
        from genrec.models.generative import load_generative

        directory = model_directory(request.store, request.settings, stage)
        return load_generative(directory, request.store, request.data, request.settings, request.device, exact)

    return load


def load_ensemble(request: Request) -> Recommender:
    from genrec.models.ensemble import Ensemble

    language, other = (FAMILIES[name](request) for name in ("sft", request.settings.ensemble_with))
    return Ensemble(language, other, request.settings.ensemble_weight)


FAMILIES: dict[str, Load] = {
    "popular": load_popular,
    "popular_recent": load_popular_recent,
    "last_item": load_last_item,
    "item_knn": load_item_knn,
    "sasrec": sequential_loader("sasrec"),
    "sasrec_text": sequential_loader("sasrec_text"),
    "sasrec_bce": sequential_loader("sasrec_bce"),
    "sft": generative_loader("sft"),
    "sft_exact": generative_loader("sft", exact=True),
    "rl": generative_loader("rl"),
    "rl_exact": generative_loader("rl", exact=True),
    "ensemble": load_ensemble,
}


def find_family(name: str) -> Load:
    """One of ours, or a function of the user's."""
    return FAMILIES[name] if name in FAMILIES else partial(load_own, name)


def load_own(name: str, request: Request) -> Recommender:
    """What a function of the user's gives, if it can recommend."""
    model = call_plugin(name, load_plugin(name, BASELINE), request)
    if not callable(getattr(model, "recommend", None)):
        raise ArtifactError(f"model {name} gave {type(model).__name__}, which has no recommend(examples, k)")
    return OwnModel(name, model, len(request.data.catalog))


@dataclass(frozen=True)
class OwnModel:
    """A model of the user's own; what it raises, or another shape than asked, is told with its name."""

    name: str
    model: Recommender
    num_items: int

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        lists = call_plugin(self.name, self.model.recommend, examples, k)
        if not isinstance(lists, Recommendations):
            raise ArtifactError(f"model {self.name} gave {type(lists).__name__}; recommend must give Recommendations")
        try:
            check_recommendations(lists, len(examples), k, self.num_items)
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(f"model {self.name}: {first_line(error)}") from None
        return lists


def rows_scored(settings: Evaluation) -> list[str]:
    """`evaluation.models`, and with `ranking: exact` the exact ranking of each language model right after it."""
    exact = settings.ranking == "exact"
    twins = [(name, f"{name}_exact") if exact else (name,) for name in settings.models]
    return [name for pair in twins for name in pair if name in FAMILIES or name in settings.models]


def describe_lists(name: str, settings: Evaluation, num_items: int, filter_seen: bool) -> ListSettings:
    """How a family's lists come about. A beam search ranks as many items as it has beams, a frontier what is asked.

    A language model's part in an ensemble ends with its beams; the other's ranks all items, so the list is whole.
    """
    whole = min(max(CUTOFFS), num_items)
    if "sids" not in FAMILY_READS[name]:
        return ListSettings(whole, filter_seen=filter_seen)
    ranking = "exact" if name.endswith("_exact") else settings.decoding
    beams = settings.num_beams if ranking == "beam" else None
    return ListSettings(
        length=whole if beams is None or name == "ensemble" else min(whole, beams),
        ranking=ranking,
        num_beams=beams,
        normalization=settings.normalization,
        filter_seen=filter_seen,
    )


def model_directory(store: RunStore, settings: Evaluation, stage: str) -> Path:
    """Where a language model lies: `evaluation.base_model` stands in for the run's own sft."""
    given = settings.base_model
    return given if stage == "sft" and given else store.path(stage)


def fingerprints_outside(store: RunStore, settings: Evaluation, family: str) -> dict[str, str]:
    """What a row is made of beside the run's stages, as far as it exists."""
    fingerprints = {}
    if settings.index == "sids_grown" and store.grown_dir.exists() and "sids" in FAMILY_READS[family]:
        fingerprints["sids_grown"] = artifacts.directory_fingerprint(store.grown_dir)
    if settings.base_model and "sft" in FAMILY_READS[family]:
        require_card(settings.base_model)  # before every file below it is read
        fingerprints["base_model"] = artifacts.directory_fingerprint(settings.base_model)
    return fingerprints
