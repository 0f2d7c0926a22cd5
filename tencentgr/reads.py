"""Which options act: what each loss, similarity, sampler, optimizer, schedule and source reads.

An option that the others leave unread changes nothing. One that was given with a value of its own is refused; one that
was given as it is anyway is named in a line; neither is recorded with what is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrec.config import Section, knob_marks
from genrec.places import from_home

SOFTMAX = ("temperature", "temperature_end", "learnable_temperature")
TRAINING = (
    "loss", "num_epochs", "batch_size", "learning_rate", "optimizer", "lr_scheduler", "warmup_steps", "grad_clip",
    "l2_emb", "early_stop", "bf16", "valid_share", "num_workers", "gradient_checkpointing", "seed", "save_freq",
    "save_steps", "log_dir", "tb_dir", "ckpt_dir", "tracker",
)  # fmt: skip

# {choice: {its value: the options that are read under it}}. An option that stands nowhere here is always read; one that
# stands under several choices is read where all of them let it; a choice may itself be an option of another.
READ_BY: dict[str, dict[Any, tuple[str, ...]]] = {
    "inference_only": {False: TRAINING, True: ("result_dir", "filter_seen", "ensemble_with")},
    "source": {"tencentgr": ("data_dir", "cache_dir", "valid_share", "semantic_files"), "run": ("run_dir",)},
    "semantic": {True: ("semantic_prefixes", "semantic_files")},
    "use_adaptive_similarity": {False: ("similarity",), True: ("similarity_types",)},
    "loss": {
        "bce": ("num_negatives", "use_smart_sampling", "dynamic_candidates"),
        "infonce": (*SOFTMAX, "infonce_negatives"),
        "sampled": (*SOFTMAX, "num_negatives", "use_smart_sampling"),
        "full": SOFTMAX,
    },
    "use_smart_sampling": {True: ("popularity", "popularity_factor", "use_curriculum_learning")},
    "use_curriculum_learning": {True: ("curriculum_schedule",)},
    "optimizer": {"adamw": ("weight_decay",)},
    "lr_scheduler": {"step": ("lr_step_size",)},
}


def find_missing(options: Section, name: str) -> dict[str, tuple[Any, ...]]:
    """{choice: values it would have to take} for the option to be read, through all choices that it hangs on; {} where
    it is read."""
    missing: dict[str, tuple[Any, ...]] = {}
    for choice, table in READ_BY.items():
        wanted = tuple(value for value, read in table.items() if name in read)
        if not wanted:
            continue
        missing |= find_missing(options, choice)
        if getattr(options, choice) not in wanted:
            missing[choice] = wanted
    return missing


def acting_options(options: Section) -> dict[str, Any]:
    """The options that act, as plain values."""
    return {name: value for name, value in options.model_dump(mode="json").items() if not find_missing(options, name)}


def acting_knobs(options: Section) -> dict[str, Any]:
    """Those of them that the weights depend on."""
    fields = type(options).model_fields
    return {name: value for name, value in acting_options(options).items() if knob_marks(fields[name])["result"]}


def refuse_unread(options: Section) -> Iterator[str]:
    """A line for each option that was given a value of its own, would change the weights, and is not read."""
    for name in unread(options):
        if not options.inference_only and is_refused(options, name):  # one file of settings serves both
            missing = find_missing(options, name)
            ways = " ".join(spell_choice(choice, wanted) for choice, wanted in missing.items())
            yield f"{spell(options, name)} changes nothing here; leave it out, or add {ways}"


def list_ignored(options: Section) -> list[str]:
    """Flags of the options that were given, are not read, and do no harm."""
    return [f"--{name}" for name in unread(options) if options.inference_only or not is_refused(options, name)]


def unread(options: Section) -> list[str]:
    """Options that were given and are not read, in the schema's order."""
    given = {name for name in options.model_fields_set if not is_default_place(options, name)}
    return [name for name in type(options).model_fields if name in given and find_missing(options, name)]


def is_default_place(options: Section, name: str) -> bool:
    """A default path counts as given once it starts from the checkout; it was not."""
    default = type(options).model_fields[name].get_default()
    return isinstance(default, Path) and getattr(options, name) in (default, from_home(default))


def is_refused(options: Section, name: str) -> bool:
    field = type(options).model_fields[name]
    return knob_marks(field)["result"] and getattr(options, name) != field.get_default()


def spell(options: Section, name: str) -> str:
    value = getattr(options, name)
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"


def spell_choice(choice: str, wanted: tuple[Any, ...]) -> str:
    """The flag that chooses the first of these values, the others in brackets."""
    first, *others = wanted
    if isinstance(first, bool):
        return f"--{choice}" if first else f"--no-{choice}"
    return f"--{choice} {first}" + (f" (or {', '.join(others)})" if others else "")
