"""What `--help` and `--show-config` print, wrapped to the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import yaml

from genrec.config import Config, knob_marks, value_at, walk
from genrec.places import HOME
from genrec.plugins import OneOf, offered_names
from genrec.presets import preset_names

if TYPE_CHECKING:
    from genrec.commandline import Command, Program

LEFT = 30  # widest left column that is kept beside its text

SWITCHES = {
    "dry-run": "say what would be done and why",
    "clean": "throw away what this stage wrote before and start anew",
}
THREADS = (
    "Threads: without OMP_NUM_THREADS a process uses all cores, and waits for them briefly (GOMP_SPINCOUNT), so that a "
    "busy machine costs little; OMP_NUM_THREADS=1 is best where several programs share few cores."
)


def help_text(program: Program, config: Any, origins: Mapping[str, str]) -> str:
    """Of a program; `config` holds the values of the files of this call, None where none was given."""
    lines = [*program.doc.strip().splitlines(), "", "Options:"]
    lines += rows([("--config FILE", config_help(program)), *switch_rows(program), *common_rows()])
    for name, schema, prefix, path in shown_sections(program):
        lines += ["", *(wrap(f"{name}: {schema.__doc__.strip()}" if name else "Flags:"))]
        fields = [(f"--{prefix}{key}", describe(field, f"{path}{key}", config, origins)) for key, field in walk(schema)]
        lines += rows(fields)
    return "\n".join([*lines, *footer(program)])


def config_help(program: Program) -> str:
    without = f"without any the preset {program.default_preset}" if program.default_preset else "none by default"
    return f"preset or YAML file, repeatable, later ones win; {without}"


def switch_rows(program: Program) -> list[tuple[str, str]]:
    return [(f"--{name}", SWITCHES[name]) for name in program.switches]


def common_rows() -> list[tuple[str, str]]:
    return [
        ("--show-config", "print the configuration, with where each value came from, and stop"),
        ("--help", "this text; with --config also the values that the file gives"),
    ]


def shown_sections(program: Program) -> list[tuple[str, Any, str, str]]:
    """(heading, schema, prefix of flags, prefix of keys) of what a program's help lists."""
    if program.schema is not Config:
        return [("", program.schema, "", "")]
    names = [program.section, "run"] if program.section else list(Config.model_fields)
    own = [(program.also_heading, program.also, "", "")] if program.also else []
    return own + [
        (name, Config.model_fields[name].annotation, "" if name == program.section else f"{name}.", f"{name}.")
        for name in names
    ]


def footer(program: Program) -> list[str]:
    lines = []
    if program.schema is Config and program.section:
        own = program.own.model_fields
        others = ", ".join(f"--{name}.*" for name in Config.model_fields if name not in (program.section, "run"))
        short = ", ".join(f"--{name} is --{key}" for name, key in program.aliases.items() if name not in own)
        lines += ["", *wrap(f"Other sections by path: {others}"), *wrap(f"Short: {short}")]
    if program.schema is Config:
        lines += wrap(f"Presets: {', '.join(preset_names())}")
        lines += wrap(f"Relative paths of presets start from {HOME}, or where that is empty from here.")
    return [*lines, *wrap(THREADS)]


def describe(field: Any, key: str, config: Any, origins: Mapping[str, str]) -> str:
    """What a knob is for, the names it takes, its default, and the value that a file gives."""
    names, default = names_of(field.annotation) or names_among(field.metadata), field.default
    parts = [" | ".join(names)] if names else []
    parts.append("required" if field.is_required() else f"default {as_text(default)}")
    if config is not None and key in origins and (value := value_at(config, key)) != default:
        parts.append(f"{origins[key]}: {as_text(value)}")
    spellings = [f"--{name}" for name in knob_marks(field).get("spellings", ())]
    also = f"; also {', '.join(spellings)}" if spellings else ""
    return f"{field.description} ({'; '.join(parts)}{also})"


def names_of(kind: Any) -> tuple[str, ...]:
    """The names that a knob takes, or a list or mapping of them; () where it takes numbers or free text."""
    if get_origin(kind) in (list, dict):
        return names_of(get_args(kind)[0])
    if get_origin(kind) is Annotated:
        return names_among(get_args(kind)[1:])
    return get_args(kind) if get_origin(kind) is Literal else ()


def names_among(marks: Iterable[Any]) -> tuple[str, ...]:
    """Ours, and those of installed packages."""
    return next(((*mark.names, *offered_names(mark.kind)) for mark in marks if isinstance(mark, OneOf)), ())


def as_text(value: Any) -> str:
    if value in (None, "") or (isinstance(value, list | dict) and not value):
        return "empty"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Two columns; a text beside its flag, or below one that is too long."""
    lines = []
    for left, text in pairs:
        indent = " " * (LEFT + 2)
        body = textwrap.wrap(text, max(width() - LEFT - 2, 24), break_long_words=False, break_on_hyphens=False) or [""]
        head = [f"  {left:<{LEFT}}{body.pop(0)}"] if len(left) < LEFT else [f"  {left}"]
        lines += [*head, *(indent + line for line in body)]
    return lines


def wrap(text: str) -> list[str]:
    return textwrap.wrap(text, width(), break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")


def width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, 140)


def show_config(command: Command) -> str:
    """The resolved configuration as YAML, each value with what set it."""
    lines, section = [], ""
    values = command.config.model_dump(mode="json")
    for key, _ in walk(type(command.config)):
        *parents, name = key.split(".")
        for depth, parent in enumerate(parents, start=1):
            if (path := ".".join(parents[:depth])) != section and not section.startswith(f"{path}."):
                lines.append(f"{'  ' * (depth - 1)}{parent}:")
        section = ".".join(parents)
        value: Any = values
        for part in key.split("."):
            value = value[part]
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("\n...").strip()
        lines.append(f"{'  ' * len(parents)}{name}: {text}  # {command.origins.get(key, 'default')}")
    return "\n".join(lines)
