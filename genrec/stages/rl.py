r"""Reinforcement learning: GRPO from the SFT model, rewarded for ranking the next item first; best on valid is kept.

    genrec rl --config quickstart
    genrec rl --config quickstart --replay 500      trains nothing: which reward leaves groups dead
    genrec rl --model_path DIR --train_batch_size 32 --num_train_epochs 1 --sample_train True --sample_size 10000 \
                 --reward_type ranking --num_generations 16

Reads <run>/data, <run>/sids and <run>/sft (or --model_path); reward sasrec reads <run>/sequential, semantic
<run>/embeddings. Writes <run>/rl, a plain Hugging Face model directory: the step that was best on valid, or the SFT
model itself where no step was better; training.json says which. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts, stage
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config
from genrec.engine.torch_workers import run_on_engine
from genrec.errors import exit_on_failure
from genrec.launch import note, rank
from genrec.pipeline import command_of
from genrec.store import RunStore

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from genrec.data.prepared import Prepared
    from genrec.data.tasks import Texts
    from genrec.models.card import Card
    from genrec.runtime.training_record import TrainingRecord
    from genrec.training.rewards import Groups
    from genrec.training.rollout import Answers

SAMPLED_GROUPS = 64  # groups that the rewards are tried on before training begins


@dataclass(frozen=True)
class Material:
    """What RL starts from."""

    data: Prepared
    card: Card
    texts: Texts
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    answers: Answers
    prompts: Dataset


def build(config: Config, directory: Path) -> dict[str, Any]:
    """SFT model, data and SIDs -> model directory; returns what the manifest tells of the training."""
    from transformers import set_seed

    from genrec.data.repeats import leaves_out_seen
    from genrec.data.shop import make_shop, save_shop
    from genrec.models.card import save_card
    from genrec.models.readme import Described, write_readme
    from genrec.runtime.curves import check_installed, note_dashboard
    from genrec.runtime.training_record import is_trained, read_record, write_record
    from genrec.training.checkpoints import remove_checkpoints
    from genrec.training.finite_steps import check_weights

    if not is_trained(directory):  # else killed after the last weight was written
        check_installed(config.run.tracker)
        set_seed(config.run.seed)
        material = gather_material(config)
        model, record = train(config, directory, material)
        if rank() > 0:
            return record.summary()
        check_weights("rl", model)
        model.save_pretrained(directory)
        material.tokenizer.save_pretrained(directory)
        filter_seen = leaves_out_seen(config.evaluation.filter_seen, material.data)
        shop, card = (
            make_shop(material.data, list(material.card.profile)),
            describe_model(config, material, filter_seen),
        )
        save_shop(shop, directory)
        save_card(directory, card, material.texts.index)
        write_readme(Described("rl", card, shop, material.texts.index, record), directory)
        write_record(record, directory)
        note_dashboard("rl", config.run)
    if rank() > 0:
        return {}
    remove_checkpoints(directory)
    return read_record(directory).summary()


def describe_model(config: Config, material: Material, filter_seen: bool) -> Card:
    """The card of the model it began from, with what RL decided and the data it saw."""
    data = RunStore.of(config).manifest("data")
    return replace(
        material.card,
        filter_seen=filter_seen,
        normalization=config.evaluation.normalization,
        max_history=material.data.max_history,
        dataset=config.data.dataset,
        data=data.fingerprint,
    )


def gather_material(config: Config) -> Material:
    from genrec.data.tasks import make_texts
    from genrec.models.card import check_card, load_card, load_own_index, prompts_of_rl
    from genrec.models.language import sid_vocabulary
    from genrec.runtime.device import pick_device
    from genrec.training.memory import note_memory_of_rl
    from genrec.training.rl_start import load_policy, make_prompts
    from genrec.training.rollout import make_answers

    store, directory = RunStore.of(config), model_dir(config)
    data, card = store.prepared(), load_card(directory)
    check_card(directory, card, store, prompts_of_rl(card, config.rl))
    texts = make_texts(data, load_own_index(directory, store), card.source, card.profile, card.wording)
    device = pick_device(config.run.device)
    note_memory_of_rl(config, directory, card.cutoff_len)
    model, tokenizer = load_policy(directory, device)
    answers = make_answers(texts.index, sid_vocabulary(tokenizer, texts.index), device, config.rl.num_generations)
    limit = card.cutoff_len - texts.index.num_levels
    prompts = make_prompts(data, texts, tokenizer, limit, config.rl, config.run.seed)
    return Material(data, card, texts, model, tokenizer, answers, prompts)


def train(config: Config, directory: Path, material: Material) -> tuple[PreTrainedModel, TrainingRecord]:
    """The model that is best on valid, the SFT model included, and how that came about."""
    from genrec.runtime.curves import tracker_callbacks
    from genrec.training.checkpoints import list_checkpoints
    from genrec.training.grpo import train_rl
    from genrec.training.health import check_alive
    from genrec.training.knowledge import load_knowledge

    settings, run, index = config.rl, config.run, material.texts.index
    knowledge = load_knowledge(RunStore.of(config), material.data, index, settings.reward_type, run.device)
    note("rl", f"{len(material.prompts):,} prompts in groups of {settings.num_generations} from {model_dir(config)}")
    if not list_checkpoints(directory):
        groups = sample(config, material, SAMPLED_GROUPS)
        dead = check_alive(groups, knowledge, settings.reward_type)
        note("rl", f"{dead:.1%} of {len(groups.item)} groups of the SFT model are without advantage")
    return train_rl(
        settings,
        run,
        directory,
        material.model,
        material.tokenizer,
        material.prompts,
        material.answers,
        knowledge,
        make_decoder(config, material),
        tracker_callbacks(run, "rl"),
    )


def make_decoder(config: Config, material: Material) -> Callable[[], dict[str, float]]:
    """() -> {metric: value} of the model as it then is, decoded as `evaluate` does."""
    from genrec.data.repeats import held_out
    from genrec.models.generative import GenerativeModel
    from genrec.training.validation import ValidDecoder

    generative = GenerativeModel(material.model, material.tokenizer, material.texts, material.card.cutoff_len)
    sample = (held_out(material.data, "valid", config.evaluation.filter_seen), config.rl.valid_size, config.run.seed)
    return ValidDecoder(generative, *sample, config.evaluation.normalization)


def sample(config: Config, material: Material, count: int) -> Groups:
    """Groups of the SFT model for `count` prompts drawn by seed."""
    from genrec.training.rl_start import sample_groups

    return sample_groups(material.model, material.answers, material.prompts, config.rl, count, config.run.seed)


def print_replay(config: Config) -> None:
    """--replay: print what each reward would make of the SFT model's groups; nothing is written."""
    from genrec.training.health import format_replay
    from genrec.training.knowledge import find_available, load_knowledge

    store = RunStore.of(config)
    for name in ("data", "sids"):
        store.manifest(name)
    material = gather_material(config)
    rewards = find_available(store) | config.rl.reward_type.keys()
    knowledge = load_knowledge(store, material.data, material.texts.index, rewards, config.run.device)
    print(format_replay(sample(config, material, config.rl.replay), knowledge, config.rl.reward_type))


def model_dir(config: Config) -> Path:
    return config.rl.model_path or RunStore.of(config).path("sft")


def sources(config: Config) -> dict[str, str]:
    """A model directory in place of the run's sft."""
    from genrec.models.card import require_card

    directory = config.rl.model_path
    if not directory:
        return {}
    require_card(directory)  # before every file below it is read
    return {"model_path": artifacts.directory_fingerprint(directory)}


def main(argv: list[str] | None = None, when_changed: str | None = None) -> None:
    """`when_changed` is what a checkout's script means by it: the recipe tries RL twice, each in a run of its own."""
    argv = sys.argv[1:] if argv is None else argv
    if when_changed is not None:
        argv = ["--run.when_changed", when_changed, *argv]
    command = parse(stage_program(command_of("rl"), __doc__, "rl"), argv)
    with exit_on_failure(command.config.run.dir):
        print_replay(command.config) if command.config.rl.replay else run_on_engine("rl", command)


def carry_out(command: Command) -> None:
    """In this process; of several that were launched, its share."""
    stage.run("rl", command, build, sources)
