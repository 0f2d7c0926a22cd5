"""What SFT starts from: the texts of its prompts, a language model that knows the SID tokens, the rows of its tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec.config import Config
from genrec.data.given_texts import SNAPSHOTS, Preferences, read_training_preferences
from genrec.data.prepared import Prepared
from genrec.data.tasks import TASKS, Texts, make_texts
from genrec.data.weights import target_weights
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.models.adapters import moved, quantization
from genrec.models.beam import SidVocabulary
from genrec.models.language import (
    add_dropout,
    catalog_texts,
    load_pretrained,
    make_scratch,
    rows_from_codebooks,
    sid_vocabulary,
    teach_sids,
    train_tokenizer,
)
from genrec.models.trie import build_trie
from genrec.runtime.device import pick_device
from genrec.store import RunStore
from genrec.training.answer_loss import Legal, make_legal
from genrec.training.rows import RowBuilder, to_dataset, training_rows


def training_texts(config: Config, data: Prepared) -> Texts:
    """The texts of all prompts, with those about users where a task reads them."""
    texts = make_texts(data, RunStore.of(config).index(), config.data.source, config.sft.profile)
    return replace(texts, preferences=preferences(config, data))


def preferences(config: Config, data: Prepared) -> Preferences | None:
    """Texts about users, those of this run's data; None where no task reads them."""
    path = config.sft.preferences
    if not any(share for name, share in config.sft.tasks.items() if "preference" in name):
        return None
    artifact = RunStore.of(config).manifest("data").fingerprint
    found, line = read_training_preferences(path, artifact, data)
    note("sft", line)
    if not (found.newest(data.splits["train"]) >= 0).any():
        raise ArtifactError(
            f"{path} has no text that a train target may follow: each knows all train events of its user. "
            f"{SNAPSHOTS} beside it would; run llm_generator.py with --snapshots 3"
        )
    return found


def make_model(config: Config, texts: Texts) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model, or a small one from nothing, with the SID tokens taught."""
    settings, device = config.sft, pick_device(config.run.device)
    if settings.train_from_scratch:
        model, tokenizer = small_model(config, texts)
    else:
        model, tokenizer = load_pretrained(settings.base_model, torch.float32, quantization(settings.lora, device))
    teach_sids(model, tokenizer, texts.index, texts.catalog.title.tolist() if settings.sid_init == "text" else None)
    if settings.sid_init == "codebooks":
        rows_from_codebooks(model, sid_vocabulary(tokenizer, texts.index), codebooks(config))
    if settings.train_from_scratch:
        add_dropout(model, settings.scratch)
    return model.to(device), tokenizer


def small_model(config: Config, texts: Texts) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A tokenizer of the catalogue's own words and a model with random weights."""
    settings = config.sft
    prompts = [texts.prompt(TASKS[name], []).text for name, share in settings.tasks.items() if share > 0]
    tokenizer = train_tokenizer(catalog_texts(texts.catalog, prompts), settings.scratch.vocab_size)
    return make_scratch(settings.scratch, tokenizer, 2 * settings.cutoff_len), tokenizer


def codebooks(config: Config) -> tuple[np.ndarray, ...]:
    """The vectors of every level's codes, (K, D) each."""
    store = RunStore.of(config)
    if (found := store.codebooks()) is None:
        raise ArtifactError(
            f"sft.sid_init codebooks: {store.path('sids')} has none (imported SIDs); choose text or random"
        )
    return found


def unquantized(config: Config, texts: Texts, model: PreTrainedModel) -> PreTrainedModel:
    """What a model with 4-bit weights has learned, on the same model with its weights as they were, in CPU memory."""
    lora = config.sft.lora.model_copy(update={"quantize": "none"})
    sft = config.sft.model_copy(update={"lora": lora})
    run = config.run.model_copy(update={"device": "cpu"})
    return moved(model, make_model(config.model_copy(update={"sft": sft, "run": run}), texts)[0])


def task_dataset(config: Config, data: Prepared, texts: Texts, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The rows of all tasks."""
    weight = target_weights(data, config.sft.balance, config.sft.half_life)
    builder = RowBuilder(tokenizer, texts, config.sft.cutoff_len)
    return to_dataset(training_rows(config, builder, data.sequences, data.splits["train"], weight))


def legal_tokens(config: Config, texts: Texts, model: PreTrainedModel, sids: SidVocabulary) -> Legal | None:
    """What the loss normalises over; None: all tokens."""
    if config.sft.normalization == "vocab":
        return None
    trie = build_trie(texts.index).to(model.device)
    return make_legal(trie, sids.to(model.device), model.get_input_embeddings().num_embeddings)
