"""Supervised fine-tuning: teach a language model to answer in semantic IDs.

    genrec sft --config quickstart
    genrec sft --config 0.5b --base_model DIR --learning_rate 3e-4

Reads <run>/data and <run>/sids; writes <run>/sft, a plain Hugging Face model directory (weights, tokenizer with the SID
tokens, sid_index.npz). A killed run goes on from its newest checkpoint when the same command is given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.config import Config
from genrec.launch import note, rank
from genrec.store import RunStore


@dataclass(frozen=True)
class Material:
    """What SFT starts from; types are those of genrec.models and genrec.data, imported when needed."""

    data: Any  # Prepared
    texts: Any  # Texts
    model: Any
    tokenizer: Any
    sids: Any  # SidVocabulary


def build(config: Config, directory: Path) -> dict[str, Any]:
    """Data and SIDs -> model directory; returns what the manifest tells of the training."""
    from transformers import set_seed

    from genrec.runtime.curves import callbacks
    from genrec.training.checkpoints import leave_checkpoints
    from genrec.training.sft_start import legal_tokens, task_dataset
    from genrec.training.supervised import train

    if (directory / artifacts.TRAINING).exists():  # killed after the last weight was written
        return leave_checkpoints(directory) if rank() == 0 else {}
    set_seed(config.run.seed)
    made = gather(config)
    config = readable(config, made.model)
    rows = task_dataset(config, made.data, made.texts, made.tokenizer)
    answers = told(rows, made.model)
    legal = legal_tokens(config, made.texts, made.model, made.sids)
    args = (made.model, made.tokenizer, rows, decoder(config, made), callbacks(config, "sft"), legal)
    statistics = train(config, directory, *args) | {"rows": len(rows), "answer_tokens": answers}
    write_weights(config, directory, made)
    if rank() > 0:
        return statistics
    write_rest(config, directory, made)
    artifacts.write_json(directory / artifacts.TRAINING, statistics)
    return leave_checkpoints(directory)


def gather(config: Config) -> Material:
    from genrec.models.adapters import attach
    from genrec.models.language import sid_vocabulary
    from genrec.training.sft_start import make_model, training_texts

    data = RunStore.of(config).prepared()
    texts = training_texts(config, data)
    model, tokenizer = make_model(config, texts)
    sids = sid_vocabulary(tokenizer, texts.index)
    return Material(data, texts, attach(model, sids, config.sft), tokenizer, sids)


def readable(config: Config, model: Any) -> Config:
    """The configuration, with plain rows where the model cannot read trees."""
    from genrec.models.token_tree import takes_trees

    if takes_trees(model):
        return config
    kind = model.config.model_type
    note("sft", f"a model of type {kind} does not take a 4-D attention mask: each row and beam is read alone")
    return config.model_copy(update={"sft": config.sft.model_copy(update={"pack": "none"})})


def told(rows: Any, model: Any) -> int:
    """One line on what is trained and on what; returns the number of answer tokens."""
    answers = sum(len(labels) for labels in rows["labels"])
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    note(
        "sft",
        f"{sum(rows['targets']):,} targets in {len(rows):,} rows; {sum(rows['length']):,} tokens to read, "
        f"{answers:,} to learn; "
        f"{trained / 1e6:.1f} M of {total / 1e6:.1f} M parameters are trained",
    )
    return answers


def decoder(config: Config, made: Material) -> Any:
    """() -> {metric: value} of the model as it then is, decoded by the normalization that it is taught by."""
    from genrec.models.generative import GenerativeModel
    from genrec.training.validation import ValidDecoder

    generative = GenerativeModel(made.model, made.tokenizer, made.texts, config.sft.cutoff_len)
    sample = (made.data.examples("valid"), config.sft.valid_size, config.run.seed)
    return ValidDecoder(generative, *sample, config.sft.normalization)


def write_weights(config: Config, directory: Path, made: Material) -> None:
    """The weights as one plain model, adapters folded in; every process takes part where the weights are dealt out."""
    from genrec.models.adapters import merged, whole
    from genrec.training.sft_start import unquantized

    quantized = config.sft.lora.quantize != "none" and rank() == 0
    model = unquantized(config, made.texts, made.model) if quantized else made.model
    with whole(model):
        if rank() == 0:
            merged(model).save_pretrained(directory)


def write_rest(config: Config, directory: Path, made: Material) -> None:
    """Tokenizer, card and SIDs."""
    from genrec.data.prompts import prompt_fingerprint
    from genrec.models.generative import Card, save_card

    made.tokenizer.save_pretrained(directory)
    sids = stage.require(config, "sids")
    card = Card(sids.fingerprint, prompt_fingerprint(), config.data.source, config.sft.cutoff_len, config.sft.profile)
    save_card(directory, card, made.texts.index)


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


def main(argv: list[str] | None = None) -> None:
    stage.main("sft", __doc__, build, sources, argv)
