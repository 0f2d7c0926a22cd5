"""Supervised fine-tuning: teach a language model to answer in semantic IDs.

    python sft.py --config config/quickstart.yaml
    python sft.py --config config/0.5b.yaml --base_model DIR --learning_rate 3e-4

Reads <run>/data and <run>/sids; writes <run>/sft, a plain Hugging Face model directory (weights, tokenizer with the SID
tokens, sid_index.npz). A killed run goes on from its newest checkpoint when the same command is given again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.artifacts import ArtifactError
from genrec.config import Config


def build(config: Config, directory: Path) -> dict[str, Any]:
    """Data and SIDs -> model directory; returns what the manifest tells of the training."""
    from genrec.training.checkpoints import leave_checkpoints

    if (directory / artifacts.TRAINING).exists():  # killed after the last weight was written
        return leave_checkpoints(directory) if stage.rank() == 0 else {}
    from transformers import set_seed

    from genrec.data.prepared import load_prepared
    from genrec.data.prompts import prompt_fingerprint
    from genrec.data.tasks import make_texts
    from genrec.data.weights import target_weights
    from genrec.models.adapters import attach, merged, moved, whole
    from genrec.models.generative import Card, GenerativeModel, save_card
    from genrec.models.language import sid_vocabulary
    from genrec.models.token_tree import takes_trees
    from genrec.models.trie import build_trie
    from genrec.sids import load_index
    from genrec.training.answer_loss import make_legal
    from genrec.training.supervised import RowBuilder, to_dataset, train, training_rows
    from genrec.training.tracking import callbacks
    from genrec.training.validation import ValidDecoder

    set_seed(config.run.seed)
    data = load_prepared(config)
    index = load_index(stage.stage_dir(config, "sids") / artifacts.SID_INDEX)
    texts = replace(
        make_texts(data, index, config.data.source, config.sft.profile), preferences=preferences(config, data)
    )
    model, tokenizer = make_model(config, texts)
    model = attach(model, sid_vocabulary(tokenizer, index), config.sft)
    if not takes_trees(model):
        kind = model.config.model_type
        stage.note("sft", f"a model of type {kind} does not take a 4-D attention mask: each row and beam is read alone")
        config = config.model_copy(update={"sft": config.sft.model_copy(update={"pack": "none"})})
    builder = RowBuilder(tokenizer, texts, config.sft.cutoff_len)
    weight = target_weights(data, config.sft.balance, config.sft.half_life)
    rows = to_dataset(training_rows(config, builder, data.sequences, data.splits["train"], weight))
    targets = sum(len(labels) for labels in rows["labels"])
    total, trained = (sum(p.numel() for p in model.parameters() if p.requires_grad or every) for every in (True, False))
    stage.note(
        "sft",
        f"{len(rows):,} rows, {sum(rows['length']):,} tokens, {targets:,} of them answers; "
        f"{trained / 1e6:.1f} M of {total / 1e6:.1f} M parameters are trained",
    )

    generative = GenerativeModel(model, tokenizer, texts, config.sft.cutoff_len)
    sample = (data.examples("valid"), config.sft.valid_size, config.run.seed)
    decode = ValidDecoder(generative, *sample, config.sft.normalisation)
    legal = None
    if config.sft.normalisation == "trie":
        sids, size = sid_vocabulary(tokenizer, index).to(model.device), model.get_input_embeddings().num_embeddings
        legal = make_legal(build_trie(index).to(model.device), sids, size)
    statistics = train(config, directory, model, tokenizer, rows, decode, callbacks(config, "sft"), legal)
    statistics |= {"rows": len(rows), "answer_tokens": targets}
    if config.sft.lora.quantize != "none" and stage.rank() == 0:
        model = moved(model, make_model(unquantized(config), texts)[0])
    with whole(model):
        if stage.rank() == 0:
            merged(model).save_pretrained(directory)
    if stage.rank() > 0:
        return statistics
    tokenizer.save_pretrained(directory)
    sids = artifacts.require(stage.stage_dir(config, "sids"), "rq/generate_indices.py")
    card = Card(sids.fingerprint, prompt_fingerprint(), config.data.source, config.sft.cutoff_len, config.sft.profile)
    save_card(directory, card, texts.index)
    artifacts.write_json(directory / artifacts.TRAINING, statistics)
    return leave_checkpoints(directory)


def preferences(config: Config, data: Any) -> Any:
    """Texts about users, those of this run's data; None where no task reads them."""
    from genrec.data.given_texts import SNAPSHOTS, read_training_preferences

    path = config.sft.preferences
    if not any(share for name, share in config.sft.tasks.items() if "preference" in name):
        return None
    artifact = artifacts.require(stage.stage_dir(config, "data"), "data/prepare.py").fingerprint
    found, line = read_training_preferences(path, artifact, data)
    stage.note("sft", line)
    if not (found.newest(data.splits["train"]) >= 0).any():
        raise ArtifactError(
            f"{path} has no text that a train target may follow: each knows all train events of its user. "
            f"{SNAPSHOTS} beside it would; run llm_generator.py with --snapshots 3"
        )
    return found


def sources(config: Config) -> dict[str, str]:
    """Fingerprints of the base model, where it lies in a local directory or GGUF file, and of texts about users."""
    from genrec.data.given_texts import SNAPSHOTS

    path = config.sft.preferences
    files = {"preferences": path, "snapshots": path.with_name(SNAPSHOTS)} if path else {}
    return base_model(config) | {name: artifacts.sha256(file) for name, file in files.items() if file.is_file()}


def base_model(config: Config) -> dict[str, str]:
    from genrec.models.gguf import gguf_file

    if config.sft.train_from_scratch:
        return {}
    if file := gguf_file(config.sft.base_model):
        return {"base_model": artifacts.sha256(file)}
    base = Path(config.sft.base_model)
    return {"base_model": artifacts.directory_fingerprint(base)} if base.is_dir() else {}


def codebooks(config: Config) -> Any:
    """The vectors of every level's codes, (K, D) each."""
    from genrec.quantizers.build import load_codebooks

    path = stage.stage_dir(config, "sids") / artifacts.CODEBOOKS
    if not path.exists():
        raise ArtifactError(f"sft.sid_init codebooks: no {path}, imported SIDs have none; choose text or random")
    return load_codebooks(path)


def unquantized(config: Config) -> Config:
    """The same model whole, and in CPU memory."""
    lora = config.sft.lora.model_copy(update={"quantize": "none"})
    sft = config.sft.model_copy(update={"lora": lora})
    return config.model_copy(update={"sft": sft, "run": config.run.model_copy(update={"device": "cpu"})})


def make_model(config: Config, texts: Any) -> tuple[Any, Any]:
    """The base model, or a small one from nothing, with the SID tokens taught."""
    import torch

    from genrec.data.tasks import TASKS
    from genrec.models.adapters import quantization
    from genrec.models.device import pick_device
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

    settings, device = config.sft, pick_device(config.run.device)
    if settings.train_from_scratch:
        prompts = [texts.prompt(TASKS[name], []).text for name, share in settings.tasks.items() if share > 0]
        tokenizer = train_tokenizer(catalog_texts(texts.catalog, prompts), settings.scratch.vocab_size)
        model = make_scratch(settings.scratch, tokenizer, 2 * settings.cutoff_len)
    else:
        model, tokenizer = load_pretrained(settings.base_model, torch.float32, quantization(settings.lora, device))
    teach_sids(model, tokenizer, texts.index, texts.catalog.title.tolist() if settings.sid_init == "text" else None)
    if settings.sid_init == "codebooks":
        rows_from_codebooks(model, sid_vocabulary(tokenizer, texts.index), codebooks(config))
    if settings.train_from_scratch:
        add_dropout(model, settings.scratch)
    return model.to(device), tokenizer


if __name__ == "__main__":
    stage.main("sft", "sft", __doc__, build, sources)
