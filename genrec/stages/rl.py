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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.commandline import parse, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.launch import note, rank
from genrec.pipeline import command_of
from genrec.store import RunStore

LOOK = 64  # groups that are looked at before training begins


@dataclass(frozen=True)
class Material:
    """What RL starts from; types are those of genrec.models and genrec.data, imported when needed."""

    data: Any  # Prepared
    card: Any  # Card
    texts: Any  # Texts
    model: Any
    tokenizer: Any
    answers: Any  # Answers
    prompts: Any  # datasets.Dataset


def build(config: Config, directory: Path) -> dict[str, Any]:
    """SFT model, data and SIDs -> model directory; returns what the manifest tells of the training."""
    from genrec.training.checkpoints import leave_checkpoints, newest_checkpoint

    if (directory / artifacts.TRAINING).exists():  # killed after the last weight was written
        return leave_checkpoints(directory) if rank() == 0 else {}
    from transformers import set_seed

    from genrec.models.generative import save_card
    from genrec.runtime.curves import callbacks
    from genrec.training.grpo import train
    from genrec.training.health import check_alive
    from genrec.training.knowledge import load_knowledge

    set_seed(config.run.seed)
    made = gather(config)
    known = load_knowledge(RunStore.of(config), made.data, made.texts.index, config.rl.reward_type, config.run.device)
    note("rl", f"{len(made.prompts):,} prompts in groups of {config.rl.num_generations} from {model_dir(config)}")
    if not newest_checkpoint(directory):
        groups = groups_of(config, made, LOOK)
        dead = check_alive(groups, known, config.rl.reward_type)
        note("rl", f"{dead:.1%} of {len(groups.item)} groups of the SFT model are without advantage")
    args = (made.model, made.tokenizer, made.prompts, made.answers, known, decoder(config, made))
    model, statistics = train(config, directory, *args, callbacks(config, "rl"))
    if rank() > 0:
        return statistics
    model.save_pretrained(directory)
    made.tokenizer.save_pretrained(directory)
    save_card(directory, made.card, made.texts.index)
    artifacts.write_json(directory / artifacts.TRAINING, statistics)
    return leave_checkpoints(directory)


def gather(config: Config) -> Material:
    from genrec.data.tasks import make_texts
    from genrec.models.generative import check_card, load_card
    from genrec.models.language import sid_vocabulary
    from genrec.runtime.device import pick_device
    from genrec.sids import load_index
    from genrec.training.rl_start import load_policy, prompt_rows
    from genrec.training.rollout import make_answers

    data, card = RunStore.of(config).prepared(), load_card(model_dir(config))
    check_card(model_dir(config), card, config)
    texts = make_texts(data, load_index(model_dir(config) / artifacts.SID_INDEX), card.source, card.profile)
    device = pick_device(config.run.device)
    model, tokenizer = load_policy(model_dir(config), device)
    answers = make_answers(texts.index, sid_vocabulary(tokenizer, texts.index), device, config.rl.num_generations)
    prompts = prompt_rows(config, data, texts, tokenizer, card.cutoff_len - texts.index.num_levels)
    return Material(data, card, texts, model, tokenizer, answers, prompts)


def decoder(config: Config, made: Material) -> Any:
    """() -> {metric: value} of the model as it then is, decoded as `evaluate` does."""
    from genrec.models.generative import GenerativeModel
    from genrec.training.validation import ValidDecoder

    generative = GenerativeModel(made.model, made.tokenizer, made.texts, made.card.cutoff_len)
    sample = (made.data.examples("valid"), config.rl.valid_size, config.run.seed)
    return ValidDecoder(generative, *sample, config.evaluation.normalization)


def groups_of(config: Config, made: Material, count: int) -> Any:
    """Groups of the SFT model for `count` prompts drawn by seed."""
    from genrec.training.rl_start import sample_groups

    return sample_groups(made.model, made.answers, made.prompts, config.rl, count, config.run.seed)


def look(config: Config) -> None:
    """--replay: print what each reward would make of the SFT model's groups; nothing is written."""
    from genrec.training.health import replay
    from genrec.training.knowledge import available, load_knowledge

    for name in ("data", "sids"):
        stage.require(config, name)
    made, store = gather(config), RunStore.of(config)
    wanted = available(store) | config.rl.reward_type.keys()
    known = load_knowledge(store, made.data, made.texts.index, wanted, config.run.device)
    print(replay(groups_of(config, made, config.rl.replay), known, config.rl.reward_type))


def model_dir(config: Config) -> Path:
    return config.rl.model_path or RunStore.of(config).path("sft")


def sources(config: Config) -> dict[str, str]:
    """A model directory in place of the run's sft."""
    given = config.rl.model_path
    return {"model_path": artifacts.directory_fingerprint(given)} if given else {}


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of("rl"), __doc__, "rl"), argv)
    with exit_on_failure(command.config.run.dir):
        look(command.config) if command.config.rl.replay else stage.run("rl", command, build, sources)
