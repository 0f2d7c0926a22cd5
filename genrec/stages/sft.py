"""Supervised fine-tuning: teach a language model to answer in semantic IDs.

    genrec sft --config quickstart
    genrec sft --config 0.5b --base_model DIR --learning_rate 3e-4
    genrec sft --config 0.5b --run.engine ray --run.workers 8    # by workers of a Ray cluster

Reads <run>/data and <run>/sids, with --sft.teacher sasrec also <run>/sequential; writes <run>/sft, a plain Hugging Face
model directory (weights, tokenizer with the SID tokens, sid_index.npz). A killed run goes on from its newest checkpoint
when the same command is given again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts, stage
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config, Sft
from genrec.engine.torch_workers import run_on_engine
from genrec.errors import ConfigError, exit_on_failure
from genrec.launch import note, rank
from genrec.pipeline import command_of
from genrec.store import RunStore

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrec.data.prepared import Prepared
    from genrec.data.tasks import Texts
    from genrec.models.beam import SidVocabulary
    from genrec.runtime.training_record import TrainingRecord
    from genrec.training.soft_targets import SoftTargets


@dataclass(frozen=True)
class Material:
    """What SFT starts from."""

    data: Prepared
    texts: Texts
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    sids: SidVocabulary


def build(config: Config, directory: Path) -> dict[str, Any]:
    """Data and SIDs -> model directory; returns what the manifest tells of the training."""
    from transformers import set_seed

    from genrec.runtime.curves import check_installed, note_dashboard
    from genrec.runtime.training_record import is_trained, read_record, write_record
    from genrec.training.checkpoints import remove_checkpoints

    if not is_trained(directory):  # else killed after the last weight was written
        check_installed(config.run.tracker)
        set_seed(config.run.seed)
        material = gather_material(config)
        record = train(config, directory, material)
        write_weights(config, directory, material)
        if rank() > 0:
            return record.summary()
        write_rest(config, directory, material, record)
        write_record(record, directory)
        note_dashboard("sft", config.run)
    if rank() > 0:
        return {}
    remove_checkpoints(directory)
    return read_record(directory).summary()


def gather_material(config: Config) -> Material:
    from genrec.data.prompts import own_wording
    from genrec.models.adapters import attach_adapters
    from genrec.models.language import sid_vocabulary
    from genrec.training.memory import note_memory_of_sft
    from genrec.training.sft_start import make_model, make_training_texts

    note_memory_of_sft(config)
    store, settings = RunStore.of(config), config.sft
    data = store.prepared()
    texts = make_training_texts(store, data, config.data.source, settings, own_wording(config.data))
    model, tokenizer = make_model(store, texts, settings, config.run.device)
    sids = sid_vocabulary(tokenizer, texts.index)
    return Material(data, texts, attach_adapters(model, sids, settings), tokenizer, sids)


def train(config: Config, directory: Path, material: Material) -> TrainingRecord:
    """Train the model of `material` in place."""
    from genrec.runtime.curves import tracker_callbacks
    from genrec.training.sft_start import find_legal_tokens, make_task_dataset
    from genrec.training.supervised import train_sft

    model, texts, tokenizer = material.model, material.texts, material.tokenizer
    settings = choose_packing(config.sft, model)
    rows = make_task_dataset(material.data, texts, tokenizer, settings, config.run.seed)
    print_size(rows, model)
    soften = consult_teacher(config, directory, material)
    record = train_sft(
        settings,
        config.run,
        directory,
        model,
        tokenizer,
        rows,
        make_decoder(config, material),
        tracker_callbacks(config.run, "sft"),
        find_legal_tokens(texts, model, material.sids, settings),
        soften,
    )
    size = {"rows": len(rows), "answer_tokens": count_answer_tokens(rows)}
    taught = {"teacher": settings.teacher, "teacher_weight": settings.teacher_weight} if settings.teacher else {}
    return replace(record, statistics=size | taught | record.statistics)


def consult_teacher(config: Config, directory: Path, material: Material) -> SoftTargets | None:
    """What sft.teacher says of every target; lists that leave out seen items have a teacher that does so too."""
    from genrec.data.repeats import leaves_out_seen
    from genrec.training.sft_start import ask_teacher

    filter_seen = leaves_out_seen(config.evaluation.filter_seen, material.data)
    of_model = (material.texts, material.model, material.sids, config.sft, config.run.seed)
    return ask_teacher(RunStore.of(config), material.data, *of_model, filter_seen, config.run.device, directory)


def choose_packing(settings: Sft, model: PreTrainedModel | PeftModel) -> Sft:
    """The settings, with plain rows where the model cannot read trees."""
    from genrec.models.token_tree import takes_trees

    if takes_trees(model):
        return settings
    kind = model.config.model_type
    if settings.thinned_copies:
        raise ConfigError(
            f"sft.thinned_copies {settings.thinned_copies} needs packed rows, which a model of type {kind} cannot read "
            "(it takes no 4-D attention mask); set thinned_copies 0"
        )
    note("sft", f"a model of type {kind} does not take a 4-D attention mask: each row and beam is read alone")
    return settings.model_copy(update={"pack": "none"})


def print_size(rows: Dataset, model: PreTrainedModel | PeftModel) -> None:
    """One line on what is trained and on what."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    note(
        "sft",
        f"{sum(rows['targets']):,} targets in {len(rows):,} rows; {sum(rows['length']):,} tokens to read, "
        f"{count_answer_tokens(rows):,} to learn; "
        f"{trained / 1e6:.1f} M of {total / 1e6:.1f} M parameters are trained",
    )


def count_answer_tokens(rows: Dataset) -> int:
    return sum(len(labels) for labels in rows["labels"])


def make_decoder(config: Config, material: Material) -> Callable[[], dict[str, float]]:
    """() -> {metric: value} of the model as it then is, decoded by the normalization that it is taught by."""
    from genrec.data.repeats import held_out
    from genrec.models.generative import GenerativeModel
    from genrec.training.validation import ValidDecoder

    generative = GenerativeModel(material.model, material.tokenizer, material.texts, config.sft.cutoff_len)
    sample = (held_out(material.data, "valid", config.evaluation.filter_seen), config.sft.valid_size, config.run.seed)
    return ValidDecoder(generative, *sample, config.sft.normalization)


def write_weights(config: Config, directory: Path, material: Material) -> None:
    """The weights as one plain model, adapters folded in; every process takes part where the weights are dealt out."""
    from genrec.models.adapters import gather_weights, merge_adapters
    from genrec.training.finite_steps import check_weights
    from genrec.training.sft_start import restore_precision

    model = material.model
    if config.sft.lora.quantize != "none" and rank() == 0:
        model = restore_precision(model, RunStore.of(config), material.texts, config.sft)
    with gather_weights(model):
        if rank() == 0:
            merged = merge_adapters(model)
            check_weights("sft", merged)
            merged.save_pretrained(directory)


def write_rest(config: Config, directory: Path, material: Material, record: TrainingRecord) -> None:
    """Tokenizer, SIDs, the shop's items, cards."""
    from genrec.data.prompts import own_wording, prompt_fingerprint
    from genrec.data.repeats import leaves_out_seen
    from genrec.data.shop import make_shop, save_shop
    from genrec.data.tasks import own_fingerprints
    from genrec.models.card import Card, save_card
    from genrec.models.readme import Described, find_licence, write_readme

    material.tokenizer.save_pretrained(directory)
    shop, store = make_shop(material.data, config.sft.profile), RunStore.of(config)
    save_shop(shop, directory)
    filter_seen = leaves_out_seen(config.evaluation.filter_seen, material.data)
    wording = own_wording(config.data)
    language = wording.language if wording else "en"
    of_run = (config.data.source, config.sft.cutoff_len, config.sft.profile, filter_seen)
    card = Card(
        store.manifest("sids").fingerprint,
        prompt_fingerprint(language) | own_fingerprints(config.sft.tasks, language),
        *of_run,
        normalization=config.sft.normalization,
        max_history=config.data.max_history,
        dataset=store.dataset,
        data=store.manifest("data").fingerprint,
        wording=wording,
        base=name_base(config.sft),
        licence="" if config.sft.train_from_scratch else find_licence(config.sft.base_model),
    )
    save_card(directory, card, material.texts.index)
    write_readme(Described("sft", card, shop, material.texts.index, record), directory)


def name_base(settings: Sft) -> str:
    """The base model's name; of a local directory its last part, for where it lies is nobody's concern."""
    if settings.train_from_scratch:
        return ""
    base = Path(settings.base_model)
    return base.resolve().name if base.exists() else settings.base_model


def sources(config: Config) -> dict[str, str]:
    """Fingerprints of the base model, where it lies in a local directory or GGUF file, and of texts about users."""
    from genrec.data.given_texts import SNAPSHOTS

    path = config.sft.preferences
    files = {"preferences": path, "snapshots": path.with_name(SNAPSHOTS)} if path else {}
    texts = {name: artifacts.sha256(file) for name, file in files.items() if file.is_file()}
    return fingerprint_base_model(config.sft) | texts


def fingerprint_base_model(settings: Sft) -> dict[str, str]:
    from genrec.models.gguf import gguf_file, require_model_directory

    if settings.train_from_scratch:
        return {}
    if file := gguf_file(settings.base_model):
        return {"base_model": artifacts.sha256(file)}
    base = Path(settings.base_model)
    if not base.is_dir():
        return {}
    require_model_directory(base)  # before every file below it is read
    return {"base_model": artifacts.directory_fingerprint(base)}


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of("sft"), __doc__, "sft"), argv)
    with exit_on_failure(command.config.run.dir):
        run_on_engine("sft", command)


def carry_out(command: Command) -> None:
    """In this process; of several that were launched, its share."""
    stage.run("sft", command, build, sources)
