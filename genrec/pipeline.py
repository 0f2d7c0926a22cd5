"""The pipeline as a table: what each stage reads, under which configuration, and which keys its result depends on.

    reads(stage, config)     the artifacts that this stage reads in a run of this configuration, in order
    depends_on(stage)        the keys that its own result depends on
    affected(changed_keys)   the stages whose artifact is another once these keys have changed

Whatever walks from stage to stage (stage contract, pipeline, loop, advice, error messages) asks here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genrec.config import MODEL_NAMES, Config, result_keys
from genrec.places import checkout

Reads = Callable[[Config], tuple[str, ...]]


@dataclass(frozen=True)
class Stage:
    """A stage's name is that of its artifact's directory in a run."""

    command: str  # of `genrec`
    script: str  # of a checkout
    section: str  # of the configuration
    purpose: str
    reads: tuple[str, ...]  # always
    may_read: tuple[str, ...] = ()  # under some configurations: see `reads`
    keys: tuple[str, ...] = ()  # of other sections, that its result depends on too


# What prompts call items; a model that was taught so carries it on.
WORDING_KEYS = ("data.noun", "data.nouns", "data.verb", "data.language")

# In the order of the pipeline.
STAGES: dict[str, Stage] = {
    "data": Stage("prepare", "data/prepare.py", "data", "raw reviews -> catalogue, sequences, splits", ()),
    "embeddings": Stage(
        "embed", "rq/text2emb/amazon_text2emb.py", "embeddings", "item text -> vectors", reads=("data",)
    ),
    "sids": Stage(
        "sids", "rq/generate_indices.py", "sids", "vectors -> semantic IDs", reads=("data", "embeddings")
    ),
    "convert": Stage(
        "convert", "convert_dataset.py", "convert", "an export in MiniOneRec's layout, for other tools",
        reads=("data", "sids"),
    ),
    "sequential": Stage(
        "sequential", "sequential.py", "sequential", "the honest opponent: SASRec on the same rows",
        reads=("data",), may_read=("embeddings",), keys=("evaluation.filter_seen",),
    ),
    "sft": Stage(
        "sft", "sft.py", "sft", "tasks -> a language model that answers in semantic IDs",
        reads=("data", "sids"), may_read=("sequential",), keys=("evaluation.filter_seen", *WORDING_KEYS),
    ),
    "rl": Stage(
        "rl", "rl.py", "rl", "rewards -> the same model, if valid says that RL helped",
        reads=("data", "sids"), may_read=("embeddings", "sequential", "sft"),
        keys=("evaluation.normalization", "evaluation.filter_seen"),
    ),
    "evaluation": Stage(
        "evaluate", "evaluate.py", "evaluation", "held-out rows -> HR, NDCG, example users",
        reads=("data",), may_read=("embeddings", "sids", "sequential", "sft", "rl"),
    ),
    "analysis": Stage(
        "analyze", "analyze_badcase.py", "analysis", "misses -> their causes, a page to read",
        reads=("data",), may_read=("sids", "evaluation"),
    ),
}  # fmt: skip

# Stages that run when they are called by name alone: `genrec run` leaves them out, and nothing reads what they write.
BY_NAME: dict[str, Stage] = {
    "export": Stage(
        "export", "", "export", "a trained model -> graphs and small numbers, to be served without torch",
        reads=("data", "sids"), may_read=("sft", "rl"),
        keys=("evaluation.num_beams", "evaluation.normalization", "evaluation.filter_seen"),
    ),
}  # fmt: skip
EVERY = STAGES | BY_NAME

# Commands that are no stage: (command of `genrec`, script of a checkout).
RUN = ("run", "pipeline_0.5b.sh")
ADVISE = ("advise", "optimization_strategies.py")
COMPARE = ("compare", "compare_results.py")
ITERATE = ("iterate", "iterate.py")
UPDATE = ("update", "")
RUNS = ("runs", "")
AB = ("ab", "")


# What a row of the evaluation's table reads beside data. `<model>_exact` is the exact ranking of a language model.
class ReadsByFamily(dict[str, tuple[str, ...]]):
    """A model of the user's own reads data alone."""

    def __missing__(self, family: str) -> tuple[str, ...]:
        if family in MODEL_NAMES:
            raise KeyError(family)
        return ()


FAMILY_READS: dict[str, tuple[str, ...]] = ReadsByFamily({
    "popular": (),
    "popular_recent": (),
    "last_item": (),
    "item_knn": (),
    "sasrec": ("sequential",),
    "sasrec_text": ("embeddings", "sequential"),
    "sasrec_bce": ("sequential",),
    "sft": ("sids", "sft"),
    "sft_exact": ("sids", "sft"),
    "rl": ("sids", "rl"),
    "rl_exact": ("sids", "rl"),
    "ensemble": ("sids", "sft", "sequential"),
})  # fmt: skip

# The keys of `evaluation` that a row of the table depends on; every row does on the first ones.
ROW_KEYS = ("split", "limit", "filter_seen", "metrics")
LANGUAGE_KEYS = ("index", "num_beams", "normalization", "dtype")
FRONTIER_KEYS = ("decoding", "frontier_budget")  # in place of num_beams where a frontier searches
RANKED_FAMILIES = ("sft", "rl")  # whose targets evaluation.target_ranks ranks
RANK_KEYS = ("target_ranks", "frontier_budget")  # where it does
COLD_KEYS = ("cold_share",)  # of language models where it is not 0
EXACT_KEYS = ("index", "normalization", "dtype")
FAMILY_KEYS: dict[str, tuple[str, ...]] = {
    "popular_recent": ("recent_share",),
    "sft": LANGUAGE_KEYS,
    "sft_exact": EXACT_KEYS,
    "rl": LANGUAGE_KEYS,
    "rl_exact": EXACT_KEYS,
    "ensemble": (*LANGUAGE_KEYS, "ensemble_with", "ensemble_weight"),
}

# What a reward of RL reads beside data and sids; `sequential` holds the model of the reward's name.
REWARD_READS: dict[str, tuple[str, ...]] = {
    "semantic": ("embeddings",),
    "sasrec": ("sequential",),
    "sasrec_text": ("sequential",),
}

# The same of a teacher of SFT.
TEACHER_READS: dict[str, tuple[str, ...]] = {"sasrec": ("sequential",), "sasrec_text": ("sequential",)}

MEASURED = ("evaluation", "analysis")  # their artifacts belong to the rows of evaluation.split
MANY = ("sids", "evaluation", "analysis")  # an artifact each of what is named below their directory


def reads(stage: str, config: Config) -> tuple[str, ...]:
    """The artifacts that a stage reads in a run of this configuration, in the order of the pipeline."""
    return in_order({*EVERY[stage].reads, *CONDITIONS.get(stage, lambda config: ())(config)})


def read_by_sequential(config: Config) -> tuple[str, ...]:
    return ("embeddings",) if "sasrec_text" in config.sequential.models else ()


def read_by_sft(config: Config) -> tuple[str, ...]:
    named = (name for name, weight in config.sft.teacher.items() if weight)
    return tuple(stage for name in named for stage in TEACHER_READS.get(name, ()))


def read_by_rl(config: Config) -> tuple[str, ...]:
    rewarding = tuple(name for reward in config.rl.reward_type for name in REWARD_READS.get(reward, ()))
    return rewarding if config.rl.model_path else ("sft", *rewarding)


def read_by_evaluation(config: Config) -> tuple[str, ...]:
    """What the rows read; a model directory that is given stands in for the run's own sft."""
    return tuple({name for family in config.evaluation.models for name in read_by_row(family, config)})


def read_by_row(family: str, config: Config) -> tuple[str, ...]:
    """What one row reads, with data."""
    given = {"sft"} if config.evaluation.base_model else set()
    return in_order({"data", *FAMILY_READS[family], *read_for_cold_items(family, config)} - given)


def read_for_cold_items(family: str, config: Config) -> tuple[str, ...]:
    return ("embeddings",) if lists_cold_items(family, config) else ()


def lists_cold_items(family: str, config: Config) -> bool:
    """Whether the row is of a language model whose lists share their probability with them."""
    return bool(config.evaluation.cold_share) and "normalization" in FAMILY_KEYS.get(family, ())


def read_by_export(config: Config) -> tuple[str, ...]:
    """The run's own model, unless a directory is given; `genrec export` has settled which."""
    return (config.export.model,) if config.export.model in ("sft", "rl") else ()


CONDITIONS: dict[str, Reads] = {
    "sequential": read_by_sequential,
    "sft": read_by_sft,
    "rl": read_by_rl,
    "evaluation": read_by_evaluation,
    "export": read_by_export,
}


def depends_on(stage: str, config: Config | None = None) -> tuple[str, ...]:
    """The keys that a stage's own result depends on, those of what it reads aside.

    The seed is one of them where the stage draws under this configuration, or may draw where none is given.
    """
    own = EVERY[stage]
    draws = stage not in DRAWN or (config is None or DRAWN[stage](config))
    return (*result_keys(own.section), *(("run.seed",) if draws else ()), *own.keys)


# Whether a stage draws random numbers; those that are not named always do.
DRAWN: dict[str, Callable[[Config], bool]] = {
    "data": lambda config: config.data.ties == "random" or config.data.source == "toy",
    "embeddings": lambda config: False,
    "convert": lambda config: False,
}


def row_depends_on(family: str, config: Config) -> tuple[str, ...]:
    """The same of one row of the evaluation's table."""
    keys = (*ROW_KEYS, *FAMILY_KEYS.get(family, ()))
    if config.evaluation.decoding == "frontier" and "num_beams" in keys:
        keys = (*(name for name in keys if name != "num_beams"), *FRONTIER_KEYS)
    if config.evaluation.target_ranks and family in RANKED_FAMILIES:
        keys = dict.fromkeys((*keys, *RANK_KEYS))
    if lists_cold_items(family, config):
        keys = (*keys, *COLD_KEYS)
    return (*(f"evaluation.{name}" for name in keys), "run.seed")


def affected(changed_keys: Collection[str], config: Config | None = None) -> tuple[str, ...]:
    """The stages whose artifact is another once these keys have changed, with all that is built on it.

    Without a configuration, with all that may be built on it. A key may be one of a mapping's
    (`sft.tasks.title_to_sid`).
    """
    changed: set[str] = set()
    for name, stage in STAGES.items():
        own = any(same_or_below(key, known) for key in changed_keys for known in depends_on(name))
        built_on = reads(name, config) if config else (*stage.reads, *stage.may_read)
        if own or changed & set(built_on):
            changed.add(name)
    return in_order(changed)


def same_or_below(key: str, known: str) -> bool:
    return key == known or key.startswith(f"{known}.")


def needed_for(family: str, config: Config) -> tuple[str, ...]:
    """Every stage that has to be there before a row of the table can be scored, in order."""
    wanted = {"data", *FAMILY_READS[family], *read_for_cold_items(family, config)}
    for name in reversed(STAGES):
        if name in wanted:
            wanted.update(reads(name, config))
    return in_order(wanted)


def in_order(stages: Iterable[str]) -> tuple[str, ...]:
    wanted = set(stages)
    return tuple(name for name in STAGES if name in wanted)


def artifact_dir(config: Config, stage: str) -> Path:
    """Where an artifact lies; of `evaluation` the directory that holds an artifact a row.

    What is measured on valid rows stands beside what is measured on test rows.
    """
    name = f"{stage}_valid" if stage in MEASURED and config.evaluation.split == "valid" else stage
    if stage == "sids":
        return config.run.dir / name / (config.sids.name or keep_word(config.sids.method))
    if stage == "analysis":
        return config.run.dir / name / Path(config.analysis.model).name
    return config.run.dir / name


def keep_word(text: str) -> str:
    """What may stand in the name of a directory."""
    return re.sub(r"[^\w\-]+", "_", text) or "_"


def on_split(config: Config, split: Literal["valid", "test"]) -> Config:
    """The same configuration, measuring on these rows."""
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"split": split})})


def command_of(stage: str) -> str:
    """How a person calls a stage: as they called this one, by a script of the checkout or by `genrec`."""
    return call_of(EVERY[stage].command, EVERY[stage].script)


def call_of(command: str, script: str) -> str:
    if checkout() is None:
        return f"genrec {command}"
    if not script:
        return f"python -m genrec {command}"
    return f"{'bash' if script.endswith('.sh') else 'python'} {script}"
