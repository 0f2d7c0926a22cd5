"""What SFT starts from: the texts of its prompts, a language model that knows the SID tokens, the rows of its tasks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec.artifacts import SID_INDEX
from genrec.config import Sft
from genrec.data.given_texts import SNAPSHOTS, Preferences, read_training_preferences
from genrec.data.prepared import Prepared
from genrec.data.prompts import Wording
from genrec.data.sequences import Split
from genrec.data.tasks import Texts, find_task, make_texts
from genrec.data.thinning import Thinned, add_thinned
from genrec.data.updated import choose_replayed
from genrec.data.weights import target_weights
from genrec.errors import ArtifactError, ConfigError
from genrec.launch import note
from genrec.models.adapters import move_adapters, quantization_arguments
from genrec.models.beam import SidVocabulary
from genrec.models.card import grew_from
from genrec.models.language import (
    add_dropout,
    catalog_texts,
    load_pretrained,
    make_scratch,
    set_rows_from_codebooks,
    sid_vocabulary,
    teach_sids,
    train_tokenizer,
)
from genrec.models.teachers import load_teacher
from genrec.models.trie import build_trie
from genrec.runtime.device import pick_device
from genrec.sids import SidIndex, load_index
from genrec.store import RunStore
from genrec.training.answer_loss import Legal, make_legal
from genrec.training.rows import RowBuilder, make_rows, to_dataset
from genrec.training.soft_targets import SoftTargets, make_soft_targets


def make_training_texts(
    store: RunStore, data: Prepared, source: str, settings: Sft, wording: Wording | None = None
) -> Texts:
    """The texts of all prompts, with those about users where a task reads them; `source` is data.source."""
    texts = make_texts(data, store.index(), source, settings.profile, wording)
    return replace(texts, preferences=read_preferences(store, data, settings))


def read_preferences(store: RunStore, data: Prepared, settings: Sft) -> Preferences | None:
    """Texts about users, those of this run's data; None where no task reads them."""
    path = settings.preferences
    if not any(share and find_task(name).of_preference for name, share in settings.tasks.items()):
        return None
    preferences, line = read_training_preferences(path, store.manifest("data").fingerprint, data)
    note("sft", line)
    if not (preferences.newest(data.splits["train"]) >= 0).any():
        raise ArtifactError(
            f"{path} has no text that a train target may follow: each knows all train events of its user. "
            f"{SNAPSHOTS} beside it would; run llm_generator.py with --snapshots 3"
        )
    return preferences


def make_model(
    store: RunStore, texts: Texts, settings: Sft, device_name: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model, or a small one from nothing, with the SID tokens taught."""
    device = pick_device(device_name)
    if settings.train_from_scratch:
        model, tokenizer = make_small_model(texts, settings)
    else:
        quantization = quantization_arguments(settings.lora, device)
        model, tokenizer = load_pretrained(settings.base_model, torch.float32, quantization)
    taught = knows_sids(settings, texts.index)
    by_title = settings.sid_init == "text" and not taught
    teach_sids(model, tokenizer, texts.index, texts.catalog.title.tolist() if by_title else None)
    if settings.sid_init == "codebooks" and not taught:
        set_rows_from_codebooks(model, sid_vocabulary(tokenizer, texts.index), read_codebooks(store))
    if settings.train_from_scratch:
        add_dropout(model, settings.scratch)
    return model.to(device), tokenizer


def knows_sids(settings: Sft, index: SidIndex) -> bool:
    """Whether the base model was taught these semantic IDs, or those they grew from: its rows of them are kept then."""
    path = Path(settings.base_model) / SID_INDEX
    return not settings.train_from_scratch and path.is_file() and grew_from(index, load_index(path))


def make_small_model(texts: Texts, settings: Sft) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A tokenizer of the catalogue's own words and a model with random weights."""
    prompts = [texts.prompt(find_task(name), []).text for name, share in settings.tasks.items() if share > 0]
    tokenizer = train_tokenizer(catalog_texts(texts.catalog, prompts), settings.scratch.vocab_size)
    return make_scratch(settings.scratch, tokenizer, 2 * settings.cutoff_len), tokenizer


def read_codebooks(store: RunStore) -> tuple[np.ndarray, ...]:
    """The vectors of every level's codes, (K, D) each."""
    if (codebooks := store.codebooks()) is None:
        raise ArtifactError(
            f"sft.sid_init codebooks: {store.path('sids')} has none (imported SIDs); choose text or random"
        )
    return codebooks


def restore_precision(model: PeftModel, store: RunStore, texts: Texts, settings: Sft) -> PeftModel:
    """What a model with 4-bit weights has learned, on the same model with its weights as they were, in CPU memory."""
    lora = settings.lora.model_copy(update={"quantize": "none"})
    base, _ = make_model(store, texts, settings.model_copy(update={"lora": lora}), "cpu")
    return move_adapters(model, base)


def make_task_dataset(
    data: Prepared, texts: Texts, tokenizer: PreTrainedTokenizerBase, settings: Sft, seed: int
) -> Dataset:
    """The rows of all tasks."""
    weight = target_weights(data, settings.balance, settings.half_life)
    builder = RowBuilder(tokenizer, texts, settings.cutoff_len)
    train, items = choose_rows(data, settings, seed)
    if items is not None:
        say_replay(data, settings, len(train), items)
    rest = (data.max_history, settings, seed, items, thin(data, settings, seed))
    return to_dataset(make_rows(builder, data.sequences, train, weight, *rest))


def thin(data: Prepared, settings: Sft, seed: int) -> Thinned | None:
    """The copies that sft.thinned_copies asks for."""
    if not settings.thinned_copies:
        return None
    weight, (train, _) = target_weights(data, settings.balance, settings.half_life), choose_rows(data, settings, seed)
    return add_thinned(data.sequences, train, weight, settings.thinned_copies, settings.thinning, seed)


def choose_rows(data: Prepared, settings: Sft, seed: int) -> tuple[Split, np.ndarray | None]:
    """Train rows, and (N,) the items that are asked for, None for all; sft.replay leaves out some that were learned."""
    train = data.splits["train"]
    if settings.replay is None:
        return train, None
    if data.updated is None:
        raise ConfigError(
            f"sft.replay {settings.replay:g} chooses among rows that an earlier model learned, and these data come "
            "from no update; leave sft.replay empty, or begin with genrec update"
        )
    chosen = choose_replayed(data.updated, train, len(data.catalog), settings.replay, seed)
    return train.take(chosen.rows), chosen.items


def say_replay(data: Prepared, settings: Sft, rows: int, items: np.ndarray) -> None:
    assert data.updated is not None and settings.replay is not None, "only an update replays"
    note(
        "sft",
        f"{int((~data.updated.learned).sum()):,} new train rows, with {rows:,} of {len(data.splits['train']):,} after "
        f"a replay of {settings.replay:.0%} of the users; {int(items.sum()):,} of {len(data.catalog):,} items",
    )


def ask_teacher(
    store: RunStore,
    data: Prepared,
    texts: Texts,
    model: PreTrainedModel,
    sids: SidVocabulary,
    settings: Sft,
    seed: int,
    filter_seen: bool,
    device: str,
    directory: Path,
) -> SoftTargets | None:
    """The targets as sft.teacher softens them; None where there is none."""
    if not settings.teacher:
        return None
    begin, (train, _), thinned = time.perf_counter(), choose_rows(data, settings, seed), thin(data, settings, seed)
    teacher = load_teacher(store, data, settings.teacher, device, filter_seen)
    vocabulary = model.get_input_embeddings().num_embeddings
    of_data = (data.sequences, train, data.max_history)
    of_model = (build_trie(texts.index), sids, vocabulary)
    soft = make_soft_targets(teacher, settings.teacher_weight, *of_data, *of_model, directory, thinned)
    asked = len(thinned.train if thinned else train)
    note(
        "sft",
        f"{', '.join(settings.teacher)} asked about {asked:,} targets, weight {settings.teacher_weight:g}; "
        f"{soft.probability.nbytes / 2**20:.0f} MiB on disk while training, {time.perf_counter() - begin:.1f} s",
    )
    return soft


def find_legal_tokens(texts: Texts, model: PreTrainedModel, sids: SidVocabulary, settings: Sft) -> Legal | None:
    """What the loss normalises over; None: all tokens."""
    if settings.normalization == "vocab":
        return None
    trie = build_trie(texts.index).to(model.device)
    return make_legal(trie, sids.to(model.device), model.get_input_embeddings().num_embeddings)
