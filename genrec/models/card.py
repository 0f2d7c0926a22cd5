"""The card of a model directory: what it was trained on, and whether that is what it meets now.

Apart from the model itself, since whoever asks for the card alone needs no torch.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from genrec import artifacts
from genrec.config import Rl
from genrec.data.prompts import Wording, name_nouns, prompt_fingerprint
from genrec.data.shop import Shop
from genrec.data.tasks import RECOMMEND, Texts, find_task, own_fingerprints
from genrec.errors import ArtifactError
from genrec.pipeline import command_of
from genrec.sids import SidIndex, load_index, save_index
from genrec.store import RunStore


@dataclass(frozen=True)
class Card:
    """What must match when a model directory meets a catalogue."""

    sids: str  # fingerprint of the sids artifact
    prompts: dict[str, str]  # prompts.prompt_fingerprint()
    source: str  # data.source
    cutoff_len: Annotated[int, Field(ge=1)]
    profile: list[Literal["taste", "companions"]]  # sft.profile
    filter_seen: bool = False  # validation, which chose these weights, left out what users had before
    normalization: Literal["vocab", "trie"] = "vocab"  # by which it was taught, or chosen by RL
    max_history: int | None = None  # data.max_history; None: as many items as the prompt has room for
    dataset: str = ""
    data: str = ""  # fingerprint of the data artifact
    base: str = ""  # what it began from; empty: random weights
    licence: str = ""  # of that, where its files say
    wording: Wording | None = None  # what prompts call items, and their language; None: as the source does, in English
    files: dict[str, str] = field(default_factory=dict)  # name -> hash, of the files that belong to these weights


BELONGING = (artifacts.SID_INDEX, artifacts.ITEMS, artifacts.COMPANIONS, "tokenizer.json")


def save_card(directory: Path, card: Card, index: SidIndex) -> None:
    """The SIDs, and last the card, with the hashes of what lies beside it by then."""
    save_index(index, directory / artifacts.SID_INDEX)
    there = [name for name in BELONGING if (directory / name).exists()]
    files = {name: artifacts.sha256(directory / name)[:16] for name in there}
    artifacts.write_json(directory / artifacts.CARD, asdict(replace(card, files=files)))


def check_files(directory: Path, card: Card) -> None:
    """Every file that belongs to the weights is there and is the one they were saved with, or ArtifactError."""
    if artifacts.ITEMS not in card.files:
        raise ArtifactError(
            f"{directory} has no {artifacts.ITEMS}: the model is from before models carried their items; load the run "
            "that it lies in, or train it anew"
        )
    for name, saved in card.files.items():
        path = directory / name
        if not path.is_file():
            raise ArtifactError(f"{directory} lacks {name}, which its {artifacts.CARD} lists; get its files again")
        if (now := artifacts.sha256(path)[:16]) != saved:
            raise ArtifactError(
                f"{path} is not of this model: sha256 {saved} in {artifacts.CARD}, {now} there now; get its files again"
            )


def require_card(directory: Path) -> None:
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is not a directory")
    if not (directory / artifacts.CARD).exists():
        raise ArtifactError(
            f"{directory} is not a model of this project: it has no {artifacts.CARD}; make one with {command_of('sft')}"
        )


def load_card(directory: Path) -> Card:
    require_card(directory)
    path = directory / artifacts.CARD
    return artifacts.read_record(path, Card, f"train the model anew ({command_of('sft')} --clean)")


def check_card(directory: Path, card: Card, store: RunStore, prompts: Collection[str]) -> None:
    """A model meets the run it is used in: same SIDs, data source and texts of prompts, or an error with both values.

    `prompts` names the texts in use, as prompt_fingerprint() does.
    """
    source = store.data_settings()["data.source"]
    lineage = store.sid_lineage()
    sids = card.sids if card.sids in lineage else lineage[0]
    pairs = {"sids": (card.sids, sids), "data.source": (card.source, source)}
    current = current_prompts(card, prompts)
    for name in prompts:
        pairs[f"the text of '{name}'"] = (card.prompts.get(name), current.get(name))
    for name, (trained, now) in pairs.items():
        if trained != now:
            raise ArtifactError(
                f"{directory} was trained with {name} {trained}, but this run has {now}; "
                f"use the run it was trained in (--run.dir) or train it anew ({command_of('sft')} --clean)"
            )


def current_prompts(card: Card, names: Collection[str]) -> dict[str, str]:
    """The fingerprints of this version's texts in the card's language, and of the user's own tasks among `names`."""
    language = card.wording.language if card.wording else "en"
    ours = prompt_fingerprint(language)
    return ours | own_fingerprints([name for name in names if name not in ours], language)


def check_prompts(directory: Path, card: Card) -> None:
    """A model that is used without its run is asked with the texts it was taught, or ArtifactError."""
    names = prompts_of_evaluation(card)
    now = current_prompts(card, names)
    for name in names:
        if card.prompts.get(name) != now.get(name):
            raise ArtifactError(
                f"{directory} was trained with the text of '{name}' {card.prompts.get(name)}, but this version asks "
                f"with {now.get(name)}; use the version of genrec that trained it"
            )


def load_own_texts(directory: Path, card: Card, shop: Shop) -> Texts:
    """What a model that is used without its run is asked with, by what its directory says; its files were checked."""
    check_prompts(directory, card)
    index = load_index(directory / artifacts.SID_INDEX)
    if len(index) != len(shop.catalog):
        raise ArtifactError(
            f"{directory}: {artifacts.SID_INDEX} is of {len(index):,} items, {artifacts.ITEMS} of "
            f"{len(shop.catalog):,}; get both again"
        )
    return Texts(shop.catalog, index, card.source, shop.profile(list(card.profile)), given_wording=card.wording)


def load_own_index(directory: Path, store: RunStore) -> SidIndex:
    """The SIDs in a model directory, of a card that was checked: those of the run or what these grew from.

    The run's are given, which have rows for items newer than the model; ArtifactError where an item's differ.
    """
    path, index, trained = directory / artifacts.SID_INDEX, load_index(directory / artifacts.SID_INDEX), store.index()
    if grew_from(trained, index) and len(store.sid_lineage()) > 1:
        return trained
    if index.codes.shape != trained.codes.shape or index.sizes != trained.sizes:
        own, other = (f"{len(one)} items, levels of {one.sizes}" for one in (index, trained))
    elif len(differ := np.flatnonzero((index.codes != trained.codes).any(axis=1))):
        item, count = int(differ[0]), f"{len(differ)} of {len(index)} items differ"
        own, other = f"{index.text(item)} for item {item}", f"{trained.text(item)} for it ({count})"
    else:
        return index
    raise ArtifactError(
        f"{path} has {own}, {store.path('sids')} has {other}, though {artifacts.CARD} says that the model was trained "
        f"with these SIDs: one of the two was changed. Put it back, or train the model anew "
        f"({command_of('sft')} --clean)"
    )


def grew_from(index: SidIndex, older: SidIndex) -> bool:
    """Whether the first items are those of `older`, with the codes they have there."""
    return index.sizes == older.sizes and np.array_equal(index.codes[: len(older)], older.codes)


def prompts_of_evaluation(card: Card) -> list[str]:
    """Names of the texts that evaluation asks with."""
    nouns = [] if card.wording else [name_nouns(card.source)]  # those of a wording stand in the card itself
    return [*nouns, *card.profile, RECOMMEND.form]


def prompts_of_rl(card: Card, settings: Rl) -> list[str]:
    """Those of its tasks, and of evaluation; a task that is newer than the model was not taught, so it may be asked."""
    tasks = [find_task(name).form for name, share in settings.tasks.items() if share]
    return [*prompts_of_evaluation(card), *(form for form in tasks if form in card.prompts)]
