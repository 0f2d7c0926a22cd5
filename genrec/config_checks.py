"""A tree of values -> a checked configuration. A check yields a sentence a fault, with both values.

The schema, genrec/config.py, knows each key by itself (kind, bounds, names); what must hold between keys stands here.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from genrec.config import (
    HUB,
    SHARDED_SOURCES,
    TASK_NAMES,
    Analysis,
    ColumnRole,
    Config,
    Data,
    Embeddings,
    Evaluation,
    Rl,
    Run,
    Section,
    Sequential,
    Sft,
    Sids,
    TeacherName,
    all_paths,
    known_sections,
    other_spellings,
)
from genrec.errors import ConfigError, suggest
from genrec.own_tasks import read_task
from genrec.windows import is_own_shop

Faults = Iterator[str]

SMALLEST_SHARE = 1e-4  # of a task's rows


def validate(tree: dict[str, Any]) -> Config:
    """A tree of sections and keys -> the pipeline's configuration, or ConfigError with every fault of its keys."""
    with explain_errors(Config):
        config = Config.model_validate(tree)
    if fault := next(check_together(config), None):
        raise ConfigError(fault)
    return config


@contextmanager
def explain_errors(schema: type[Section]) -> Iterator[None]:
    """Within: pydantic's errors become one ConfigError in the user's words."""
    try:
        yield
    except ValidationError as error:
        raise ConfigError("; ".join(explain(item, schema) for item in error.errors())) from None


def explain(item: Any, schema: type[Section]) -> str:
    """One of pydantic's errors as a sentence."""
    path = ".".join(str(part) for part in item["loc"])
    if item["loc"] and item["loc"][-1] == "[key]":  # pydantic's mark of a wrong name in a mapping
        if item["type"] == "value_error":  # a name that may be a function of the user's own says itself what is wrong
            return item["msg"].removeprefix("Value error, ")
        section, key, name, _ = item["loc"]
        kind, names = NAMED[f"{section}.{key}"]
        return f"unknown {kind} '{name}'{suggest(name, list(names)) or '; known: ' + ', '.join(names)}"
    if item["type"] == "missing":
        return f"--{path} is required"
    if item["type"] == "extra_forbidden":
        others = known_sections() if schema is Config else "; --help lists all"
        near = suggest(path, [*schema.model_fields, *all_paths(schema), *other_spellings(schema)])
        return f"unknown key '{path}'{near or others}"
    said = f"{path}: {item['msg'].removeprefix('Value error, ')}"
    between_keys = item["type"] == "value_error" and is_section(schema, path)  # names its values itself
    return said if between_keys else f"{said} (got {hide_secrets(repr(item['input']))})"


def hide_secrets(text: str) -> str:
    """URLs without the user and password that they hold, and without a query."""
    return re.sub(r"(://[^?'\"\s]*)\?[^'\"\s]*", r"\1?***", re.sub(r"://[^/@'\"\s]*@", "://***@", text))


def is_section(schema: type[Section], path: str) -> bool:
    field = schema.model_fields.get(path)
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Section)


NAMED = {  # the mappings whose names are ours
    "data.columns": ("column", get_args(ColumnRole)),
    "sft.teacher": ("teacher", get_args(TeacherName)),
}


def check_together(config: Config) -> Faults:
    yield from check_engine(config.run, config.embeddings)
    yield from check_remote(config.run)
    yield from check_data(config.data)
    yield from check_sids(config.sids)
    yield from check_sft(config.sft)
    yield from check_rl(config.rl)
    yield from check_evaluate(config.evaluation, config.sft)
    yield from repeated("sft.profile", config.sft.profile)
    yield from repeated("sequential.models", config.sequential.models)
    yield from repeated("evaluation.models", config.evaluation.models)
    yield from check_sequential(config.sequential)
    yield from check_analysis(config.analysis)


def check_engine(run: Run, embeddings: Embeddings) -> Faults:
    """What only Ray reads is not passed over without it, nor what it does not read with it."""
    if run.engine == "ray":
        if embeddings.num_processes > 1:
            yield (
                f"embeddings.num_processes {embeddings.num_processes} would do nothing for run.engine ray, whose "
                "run.workers have one encoder each; leave it out"
            )
        return
    for key in ("ray_address", "workers", "worker_cpus"):
        if (value := getattr(run, key)) != Run.model_fields[key].default:
            yield f"run.{key} {value} would do nothing for run.engine {run.engine}; add --run.engine ray"


def check_remote(run: Run) -> Faults:
    if run.remote is not None and run.when_changed != "refuse":
        yield (
            f"run.when_changed {run.when_changed} begins other runs, and run.remote {run.remote} is the place of one; "
            "leave one of the two out"
        )


def check_data(data: Data) -> Faults:
    if data.shard_size is not None and data.source not in SHARDED_SOURCES:
        yield (
            f"data.shard_size {data.shard_size} would do nothing for data.source {data.source}, which is read at once; "
            f"leave it out: it cuts {', '.join(SHARDED_SOURCES)}"
        )
    elif data.shard_size is not None and (data.events or "").startswith(HUB):
        yield (
            f"data.shard_size {data.shard_size} cuts files, and data.events {data.events} is a dataset, which is read "
            "at once; leave data.shard_size out, or write it as Parquet"
        )
    if data.split == "new_items" and data.shard_size is not None:
        yield (
            f"data.split new_items looks at all events at once, and data.shard_size {data.shard_size} prepares them by "
            "shards; leave one of them out"
        )
    if data.split == "new_items" and (data.source == "minionerec" or data.compat == "minionerec"):
        yield "data.split new_items would do nothing for rows that are split as published (minionerec); leave it out"
    yield from check_window(data)
    yield from check_table(data)
    if data.ties == "random" and data.compat == "minionerec":
        yield "data.ties random and data.compat minionerec exclude each other: the published rules keep file order"
    if data.ties == "random" and data.source == "minionerec":
        yield "data.ties random would do nothing for data.source minionerec, whose files hold rows and no times"
    if data.untitled == "keep" and data.compat == "minionerec":
        yield "data.untitled keep and data.compat minionerec exclude each other: the published rules decide on titles"
    if data.untitled == "keep" and data.source == "minionerec":
        yield "data.untitled keep would do nothing for data.source minionerec, whose items are chosen already"


def check_table(data: Data) -> Faults:
    if is_own_shop(data.source):
        if data.compat == "minionerec":
            yield (
                f"data.source {data.source} and data.compat minionerec exclude each other: the published rules are "
                "Amazon's"
            )
        return
    for key in ("events", "items", "columns", "event_weights"):
        if getattr(data, key) is not None:
            yield f"data.{key} would do nothing for data.source {data.source}; add --data.source table"


def check_window(data: Data) -> Faults:
    for end in ("st", "ed"):
        year, month = getattr(data, f"{end}_year"), getattr(data, f"{end}_month")
        if (year is None) != (month is None):
            there, lacking = ("year", "month") if month is None else ("month", "year")
            yield (
                f"data.{end}_{there} {year or month} is given without data.{end}_{lacking}, and {data.dataset} has no "
                f"window of its own to take it from; add --data.{end}_{lacking}"
            )
    start, stop = (data.st_year, data.st_month), (data.ed_year, data.ed_month)
    if None not in (*start, *stop) and start >= stop:
        window = f"starts {data.st_year}-{data.st_month:02d}, ends {data.ed_year}-{data.ed_month:02d}"
        yield f"data window is empty: {window}"


def check_sids(sids: Sids) -> Faults:
    constrained = ("rqkmeans_constrained", "rqkmeans_plus")
    if sids.kmeans_backend != "balanced" and sids.method not in constrained:
        reads = f"which only {' and '.join(constrained)} read"
        yield f"sids.kmeans_backend {sids.kmeans_backend}, {reads}, would do nothing for sids.method {sids.method}"


def check_sft(sft: Sft) -> Faults:
    yield from multiple("sft.batch_size", sft.batch_size, "sft.micro_batch_size", sft.micro_batch_size)
    yield from some_task("sft", sft.tasks)
    about_users = [name for name, share in sft.tasks.items() if share and name in TASK_NAMES and "preference" in name]
    if about_users and sft.preferences is None:
        yield f"sft.tasks.{about_users[0]} reads sft.preferences, which is empty; name a file, or drop the task"
    yield from check_teacher(sft)
    if sft.thinned_copies and (sft.pack == "none" or not sft.tasks.get("sid_to_sid")):
        yield (
            f"sft.thinned_copies {sft.thinned_copies} are packed rows of sid_to_sid, and sft.pack is {sft.pack}, "
            f"sft.tasks.sid_to_sid {sft.tasks.get('sid_to_sid', 0)}; change these, or set thinned_copies 0"
        )
    frozen, scratch = "sft.freeze_LLM True", "sft.train_from_scratch True"
    quantized, in_bits = sft.lora.quantize != "none", f"sft.lora.quantize {sft.lora.quantize}"
    yield from exclusive(
        (sft.freeze_LLM and sft.lora.r, frozen, f"sft.lora.r {sft.lora.r}"),
        (sft.freeze_LLM and sft.train_from_scratch, frozen, scratch),
        (quantized and sft.train_from_scratch, in_bits, scratch),
        (quantized and not sft.lora.r, in_bits, "sft.lora.r 0"),
    )
    yield from trainer_arguments("sft", sft.trainer, SFT_OWNERS, TRAINING_ARGUMENTS)


TAUGHT_TASKS = ("sid_to_sid", "title_history_to_sid", "preference_to_sid", "sid_and_preference_to_sid")


def asks_next_sid(name: str) -> bool:
    """Whether a task's answer is the semantic ID of a user's next item, which a teacher can soften."""
    if name in TASK_NAMES:
        return name in TAUGHT_TASKS
    own = read_task(name)
    return own.rows == "history" and own.wanted == "sid"


def check_teacher(sft: Sft) -> Faults:
    if sft.teacher and not any(sft.teacher.values()):
        yield f"sft.teacher {sft.teacher} teaches nothing: every weight is 0"
    if sft.teacher and not any(share and asks_next_sid(name) for name, share in sft.tasks.items()):
        yield (
            f"sft.teacher {', '.join(sft.teacher)} would do nothing: sft.tasks {', '.join(sft.tasks)} has no task that "
            f"asks for the next item's semantic ID ({', '.join(TAUGHT_TASKS)})"
        )


def check_rl(rl: Rl) -> Faults:
    group = rl.num_generations
    yield from multiple("rl.batch_size", rl.batch_size, "rl.num_generations", group)
    yield from multiple("rl.micro_batch_size", rl.micro_batch_size, "rl.num_generations", group)
    yield from some_task("rl", rl.tasks)
    yield from exclusive(
        (rl.beam_search and rl.temperature != 1, f"rl.temperature {rl.temperature}", "rl.beam_search True"),
        (rl.sync_ref_model and not rl.beta, "rl.sync_ref_model True", "rl.beta 0"),
        (rl.sync_ref_model and rl.lora.r, "rl.sync_ref_model True", f"rl.lora.r {rl.lora.r}"),
        (rl.dapo and rl.gspo, "rl.dapo True", "rl.gspo True"),
        (rl.dapo and "loss_type" in rl.trainer, "rl.dapo True", "rl.trainer.loss_type"),
        (rl.gspo and "importance_sampling_level" in rl.trainer, "rl.gspo True", "rl.trainer.importance_sampling_level"),
    )
    if not any(rl.reward_type.values()):
        yield f"rl.reward_type {rl.reward_type} rewards nothing: every weight is 0"
    for key in rl.trainer:
        if key.startswith(FREE_GENERATION):
            yield f"rl.trainer.{key} would do nothing: answers are made by beams or sampling on the catalogue"
    yield from trainer_arguments("rl", rl.trainer, RL_OWNERS, GRPO_CONFIG, GRPO_BASE, TRAINING_ARGUMENTS)


def check_evaluate(evaluation: Evaluation, sft: Sft) -> Faults:
    if sft.normalization == "trie" and evaluation.normalization == "vocab":
        yield "sft.normalization trie does not train what evaluation.normalization vocab reads; set both to trie"
    if evaluation.base_model and "sft" not in evaluation.models:
        lacks = f"which evaluation.models {evaluation.models} lacks"
        yield f"evaluation.base_model {evaluation.base_model} is the row 'sft', {lacks}"


def check_sequential(sequential: Sequential) -> Faults:
    yield from multiple("sequential.hidden_size", sequential.hidden_size, "sequential.num_heads", sequential.num_heads)
    for name in ("label_smoothing", "rdrop"):
        if sequential.negatives and getattr(sequential, name):
            yield (
                f"sequential.{name} {getattr(sequential, name)} needs the scores of all items, sequential.negatives "
                f"{sequential.negatives} has those that it draws; set one of the two to 0"
            )
    if sequential.rdrop and not sequential.dropout:
        yield f"sequential.rdrop {sequential.rdrop} compares two passes under other dropout; sequential.dropout is 0"


def check_analysis(analysis: Analysis) -> Faults:
    if Path(analysis.model).name in ("", "..") or analysis.model.rstrip("/").endswith("/."):
        yield f"analysis.model '{analysis.model}' names no model; give a row of the table, or a directory by its name"


# What several sections must hold to


def multiple(name: str, value: int, of: str, unit: int) -> Faults:
    if value % unit:
        yield f"{name} {value} is not a multiple of {of} {unit}"


def repeated(name: str, values: Sequence[str]) -> Faults:
    if twice := next((value for value in values if values.count(value) > 1), None):
        yield f"{name} names '{twice}' twice: {', '.join(values)}"


def some_task(section: str, tasks: Mapping[Any, float]) -> Faults:
    if not any(tasks.values()):
        yield f"{section}.tasks has no task with a share above 0: {tasks}"
    for name, share in tasks.items():
        if 0 < share < SMALLEST_SHARE:
            yield f"{section}.tasks.{name} {share} would take no row at all; {SMALLEST_SHARE} or more, or 0"


def exclusive(*pairs: tuple[Any, str, str]) -> Faults:
    """Of (whether both are asked for, one, the other)."""
    return (f"{one} and {other} exclude each other" for both, one, other in pairs if both)


# Arguments that pass through to a trainer

TRAINING_ARGUMENTS = ("transformers.training_args", "TrainingArguments")
GRPO_CONFIG, GRPO_BASE = ("trl.trainer.grpo_config", "GRPOConfig"), ("trl.trainer.base_config", "_BaseConfig")

RESUME = "the stage itself, so that a killed run can go on"


def owners(section: str, epochs: str, rows: str) -> dict[str, str]:
    """Trainer arguments that a knob sets, or the stage itself; the last two are the section's names for them."""
    resume = ("output_dir", "save_strategy", "eval_strategy", "load_best_model_at_end", "remove_unused_columns")
    same = ("learning_rate", "bf16", "gradient_checkpointing")
    return {
        **dict.fromkeys(resume, RESUME),
        **{key: f"{section}.{key}" for key in same},
        **dict.fromkeys(("metric_for_best_model", "greater_is_better"), "the stage itself: NDCG@10 of valid rows"),
        **dict.fromkeys(("eval_steps", "save_steps"), f"{section}.eval_step"),
        "report_to": "run.tracker",
        "seed": "run.seed",
        "num_train_epochs": f"{section}.{epochs}",
        "per_device_train_batch_size": f"{section}.micro_batch_size",
        "gradient_accumulation_steps": f"{section}.{rows}",
    }


SFT_OWNERS = owners("sft", "num_epochs", "batch_size") | {"weight_decay": "sft.weight_decay"}
RL_OWNERS = owners("rl", "num_epochs", "batch_size") | {
    "num_generations": "rl.num_generations",
    "beta": "rl.beta",
    "sync_ref_model": "rl.sync_ref_model",
    "temperature": "rl.temperature",
    "reward_weights": "rl.reward_type",
    "max_completion_length": "sids.num_levels",
    "pad_to_multiple_of": "the stage itself: an answer has as many tokens as its SID has levels",
}
FREE_GENERATION = (  # beginnings of GRPOConfig's arguments for free text, of which RL makes none
    "vllm",
    "use_vllm",
    "use_transformers",
    "transformers_",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "generation_kwargs",
    "cache_implementation",
    "mask_truncated_completions",
    "chat_template",
    "model_init_kwargs",
    "max_tool",
)


def trainer_arguments(section: str, given: dict[str, Any], owners: dict[str, str], *classes: tuple[str, str]) -> Faults:
    """Of a section's `trainer`: each must be a field of one of the framework's classes that nothing else sets."""
    yield from (f"{section}.trainer.{key} is set by {owners[key]}" for key in given if key in owners)
    if not given:
        return
    for module, _ in classes:
        if importlib.util.find_spec(package := module.partition(".")[0]) is None:
            yield f"{package} is not installed; pip install -r requirements.txt"
            return
    known = [name for module, cls in classes for name in framework_fields(module, cls)]
    for key in given:
        if key not in known:
            yield f"unknown key '{section}.trainer.{key}': not an argument of {classes[0][1]}{suggest(key, known)}"


def framework_fields(module: str, cls: str) -> list[str]:
    """Annotated fields of a dataclass of an installed package; its source is read, not imported."""
    package, _, rest = module.partition(".")
    spec = importlib.util.find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is no package"
    home = Path(spec.submodule_search_locations[0])
    tree = ast.parse(home.joinpath(*rest.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls)
    return [node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
