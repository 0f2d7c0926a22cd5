"""A task of one's own for the language model: `sft.tasks: {"module:function": 1}`, an entry point of genrec.tasks.

The function takes nothing and gives an OwnTask. It is called and checked when the configuration is read.

    def brand_of_next():
        return OwnTask(
            "history", "text", "Name the brand of the next {item} from the {items} {bought}, oldest first.",
            answer=lambda catalog, item: catalog.brand[item],
        )
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from genrec.errors import ArtifactError, ConfigError
from genrec.plugins import TASK, call_plugin, fingerprint_plugin, load_plugin

Words = Callable[[Any, int], str]  # (catalog, item number) -> text; genrec.data.catalog.Catalog
NOUNS = ("item", "items", "bought")  # what an instruction may leave to data.noun and the like


@dataclass(frozen=True)
class OwnTask:
    """What is given, what is wanted, and the texts of the prompt.

    A row is a training event after the items before it, or an item by itself. A row whose answer, or whose item given,
    is an empty text is left out.
    """

    rows: Literal["history", "item"]
    wanted: Literal["sid", "text"]
    instruction: str  # may hold {item}, {items}, {bought}
    part: Words | None = None  # what the prompt says of an item that is given; None: its semantic ID
    answer: Words | None = None  # of the target, where a text is wanted


def read_task(name: str) -> OwnTask:
    """The task of a name; ConfigError where it is none, or one that cannot be asked."""
    try:
        task = call_plugin(name, load_plugin(name, TASK))
    except ArtifactError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(task, OwnTask):
        raise ConfigError(f"task {name} gave {type(task).__name__}; it must give a genrec.own_tasks.OwnTask")
    if fault := find_fault(task):
        raise ConfigError(f"task {name}: {fault}")
    return task


def read_sid_task(name: str) -> OwnTask:
    """The same, of those that RL can score."""
    task = read_task(name)
    if task.wanted != "sid":
        raise ConfigError(f"task {name} wants a text, and RL rewards semantic IDs; put it under sft.tasks")
    return task


def find_fault(task: OwnTask) -> str:
    """What is wrong with its fields, '' where nothing is."""
    if task.rows not in ("history", "item"):
        return f"rows is {task.rows!r}; 'history' or 'item'"
    if task.wanted not in ("sid", "text"):
        return f"wanted is {task.wanted!r}; 'sid' or 'text'"
    if (task.answer is not None) != (task.wanted == "text"):
        return "wanted 'text' needs answer=(catalog, item) -> text, and wanted 'sid' takes none: the answer is the SID"
    if task.rows == "item" and task.wanted == "sid" and task.part is None:
        return "rows 'item', wanted 'sid' would give the answer away; part=(catalog, item) -> text says what is given"
    try:
        fields = [field for _, field, *_ in string.Formatter().parse(task.instruction) if field is not None]
    except (TypeError, ValueError):
        return f"the instruction {task.instruction!r} is no text of a prompt; write {{{{ for a brace"
    if other := [field for field in fields if field not in NOUNS]:
        return f"the instruction names {{{other[0]}}}; it may name {', '.join(f'{{{noun}}}' for noun in NOUNS)}"
    return "" if task.instruction.strip() else "the instruction is empty"


def say(name: str, what: str, words: Words, catalog: Any, item: int) -> str:
    """The text that a task has for an item, or ArtifactError with its name and the item's."""
    try:
        text = call_plugin(name, words, catalog, item)
    except ArtifactError as error:
        raise ArtifactError(f"{error}, asked for the {what} of item {catalog.item_id[item]} (row {item})") from error
    if not isinstance(text, str):
        raise ArtifactError(
            f"task {name} gave {type(text).__name__} as the {what} of item {catalog.item_id[item]} (row {item} of the "
            "catalogue); it must give a text, '' where there is none"
        )
    return text


def fingerprint_task(name: str, task: OwnTask, *texts: str) -> str:
    """A hash of its instruction, of its module's source, and of what stands around these in a prompt."""
    said = (task.rows, task.wanted, task.instruction, fingerprint_plugin(name, TASK), *texts)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
