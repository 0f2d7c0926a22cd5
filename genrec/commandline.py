"""The one command line: preset files, environment and flags -> a checked configuration, and where each value came from.

Layers, later ones win: defaults, `--config` files left to right, the environment, flags. A program takes the keys of
its own section as plain flags (`--learning_rate 3e-4`) and all others by path (`--data.dataset Office_Products`); a
program without sections takes plain flags only. Unknown keys fail at once, with the nearest name.

    --switch     or --switch True / --no-switch     a boolean
    --names a b  or --names a,b / --names "[a, b]"   a list
"""

from __future__ import annotations

import copy
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from genrec.config import Config, Data, Section, known_sections, other_spellings, section_schema, walk
from genrec.config_checks import explain_errors, validate
from genrec.errors import ConfigError, exit_on_failure, exit_on_usage_error, suggest
from genrec.help_text import help_text, show_config
from genrec.launch import note
from genrec.places import RUN_SAID, from_home
from genrec.presets import (
    Layer,
    Tree,
    drop_foreign_windows,
    find_config,
    has_path,
    is_float,
    load_layers,
    load_yaml,
    merge,
    set_path,
)
from genrec.run_choice import RunChoice, choose_run, data_settings, place_in_run, require_known_root
from genrec.windows import Collection

DEFAULT_PRESET = "0.5b"
OWN_PRESET = "GENREC_CONFIG"  # environment: the preset or file of commands that name none
TRUTHS = ("true", "false", "yes", "no", "on", "off", "auto", "1", "0")
LAUNCHER_FLAGS = ("--local-rank", "--local_rank")  # torch.distributed.launch adds it; LOCAL_RANK says the same


class Command(NamedTuple):
    """What a command line says: the configuration, what to do about this one call, and where values came from."""

    config: Any  # of the program's schema
    clean: bool = False
    dry_run: bool = False
    origins: Mapping[str, str] = {}  # key -> the file, variable or flag that set it; defaults are not in it
    run: RunChoice | None = None  # of commands that belong to a run: which, and by what it was chosen


@dataclass(frozen=True)
class Program:
    """One command: the schema it is read into, and how it is spelled."""

    name: str  # as it is called: "genrec sft"
    doc: str
    schema: type[Section]
    check: Callable[[Tree], Any]  # a tree -> a checked object of the schema, or ConfigError
    section: str = ""  # whose keys are plain flags; without one the schema's own keys are
    aliases: Mapping[str, str] = field(default_factory=dict)  # flag -> key, where the name alone does not tell
    environment: Callable[[Tree], Mapping[str, tuple[str, ...]]] = (
        lambda tree: {}
    )  # key -> variables, the first set one
    headings: bool = False  # of files: sections are headings only, their keys are the flags' names
    default_preset: str = ""
    switches: tuple[str, ...] = ("clean", "dry-run")
    words: str = ""  # the list that words before the first flag belong to
    in_run: bool = False  # it belongs to a run, which is chosen by genrec.run_choice
    root_alone: bool = False  # and works on a --root that came from none
    plain: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> keys of any section
    also: type[Section] | None = None  # flags of the program that go nowhere else, for its help and near names
    also_heading: str = "pipeline"

    @property
    def keys(self) -> dict[str, Any]:
        """Every dotted key of the schema and its field."""
        return dict(walk(self.schema))

    @property
    def own(self) -> type[BaseModel]:
        """The part of the schema whose keys are plain flags."""
        return section_schema(self.schema, self.section) or self.schema


# Flags of known commands for keys of other sections; other names of a key in its own section stand in the schema.
ALIASES = {
    "category": "data.dataset",
    "dataset": "data.dataset",
    "root": "run.root",
    "num_quantization_layers": "sids.num_levels",
}


def stage_program(name: str, doc: str, section: str = "", **rest: Any) -> Program:
    """A command over the whole configuration of the pipeline."""
    rest.setdefault("default_preset", default_preset())
    return Program(name, doc, Config, validate, section, ALIASES, in_run=True, **rest)


def default_preset() -> str:
    return os.environ.get(OWN_PRESET) or DEFAULT_PRESET


def options_program(name: str, doc: str, schema: type[Section], **rest: Any) -> Program:
    """A command over a flat schema of its own."""
    rest.setdefault("switches", ())
    return Program(name, doc, schema, checker(schema), **rest)


def checker(schema: type[Section]) -> Callable[[Tree], Any]:
    def check(tree: Tree) -> Any:
        with explain_errors(schema):
            return schema.model_validate(tree)

    return check


def parse(program: Program, argv: list[str] | None = None) -> Command:
    """Command line -> Command; prints help, the configuration, or one clear line, and exits where nothing is to run."""
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_failure(Path()), exit_on_usage_error():
        if "--help" in argv or "-h" in argv:
            print(help_text(program, *resolve_for_help(program, argv)))
            raise SystemExit(0)
        command = parse_strict(program, [word for word in argv if word != "--show-config"])
        if "--show-config" in argv:
            print(show_config(command))
            raise SystemExit(0)
    say_run(command)
    return command


def say_run(command: Command) -> None:
    """The first line: the run, and by what it was chosen; once where a command calls others."""
    choice = command.run
    if choice and not choice.lost and os.environ.get(RUN_SAID) != str(choice.directory):
        note("run", f"{choice.directory} ({choice.reason})")


def parse_strict(program: Program, argv: list[str]) -> Command:
    """The same, with ConfigError in place of an exit."""
    words = read_words(program, argv)
    layers = [*file_layers(program, words.files), Layer("", words.tree)]
    layers.insert(-1, environment_layer(program, layers))
    command = check_layers(program, layers, words)
    if not program.in_run:
        return command
    choice = choose_run(command.config, command.origins)
    if not program.root_alone:
        require_known_root(command.config.run.root, choice)
    if not words.files and program.default_preset == DEFAULT_PRESET:
        settings = data_settings(choice.directory, program.keys, command.config.run.remote)
        layers.insert(-2, Layer(f"{choice.directory}/data", settings))
        command = check_layers(program, layers, words)
    return command._replace(config=place_in_run(command.config, choice), run=choice)


def check_layers(program: Program, layers: list[Layer], words: Words) -> Command:
    """The layers as one checked configuration."""
    if program.schema is Config:
        own = Collection(*(Data.model_fields[key].default for key in Collection._fields))
        layers = drop_foreign_windows(layers, own)
    config = program.check(merge_layers(layers))
    origins = origins_of(program, layers, words.flags)
    return Command(start_from_home(config, origins), "clean" in words.switches, "dry-run" in words.switches, origins)


def resolve_for_help(program: Program, argv: list[str]) -> tuple[Any, Mapping[str, str]]:
    """The values that the files of this call give, to be shown beside the defaults; flags are left out."""
    files = [value for flag, value in zip(argv, argv[1:], strict=False) if flag == "--config"]
    files += [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    if not files:
        return None, {}
    command = parse_strict(program, [word for file in files for word in ("--config", file)])
    return command.config, command.origins


def plain_names() -> dict[str, tuple[str, ...]]:
    """{a key's name without its section, or another spelling of it: the keys of that name}."""
    keys: dict[str, tuple[str, ...]] = {}
    for section in Config.model_fields:
        schema = section_schema(Config, section)
        assert schema is not None, section
        names = {name: name for name in schema.model_fields} | other_spellings(schema)
        for spelling, name in names.items():
            keys[spelling] = (*keys.get(spelling, ()), f"{section}.{name}")
    return keys


def spell_out(program: Program, argv: list[str]) -> list[str]:
    """The same command line with every key of the schema by its path, as each command of the pipeline takes it."""
    return [spell_out_word(program, word) for word in argv]


def spell_out_word(program: Program, word: str) -> str:
    name, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or word.startswith(LAUNCHER_FLAGS):
        return word
    if name in ("config", "show-config", "help") or name.replace("_", "-") in program.switches:
        return word
    path, negated = key_of(program, name)
    return f"--{'no-' if negated else ''}{path}{equals}{value}"


def split_words(program: Program, argv: list[str]) -> tuple[list[str], list[str]]:
    """(the words that are flags of `program`, with their values; all others), each in order."""
    own, others, rest = [], [], deque(argv)
    while rest:
        word = rest.popleft()
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or (key := plain_or_dotted(program, name.replace("-", "_"))) not in program.keys:
            others.append(word)
            continue
        before = list(rest)
        if equals:
            rest.appendleft(value)
        read_value(program.keys[key], name, rest, bool(equals))
        own += [word, *before[: len(before) - len(rest)]]
    return own, others


class Words(NamedTuple):
    """A command line, read."""

    files: list[str]
    tree: Tree  # what the flags set
    flags: dict[str, str]  # key -> the flag that set it
    switches: set[str]


def read_words(program: Program, argv: list[str]) -> Words:
    words = Words([], {}, {}, set())
    rest = deque(word for word in argv if not word.startswith(LAUNCHER_FLAGS))
    while rest:
        word = rest.popleft()
        if not word.startswith("--"):
            if program.words and not words.flags:
                words.tree.setdefault(program.words, []).append(word)
                continue
            raise ConfigError(f"expected a flag that starts with --, found '{word}'")
        name, equals, value = word[2:].partition("=")
        if name.replace("_", "-") in program.switches:
            words.switches.add(name.replace("_", "-"))
            continue
        if equals:
            rest.appendleft(value)
        if name == "config":
            words.files.append(next_value(name, rest, bool(equals)))
            continue
        path, negated = key_of(program, name)
        value = False if negated else read_value(program.keys.get(path), name, rest, bool(equals))
        set_path(words.tree, path, value)
        words.flags[path] = f"--{name}"
    return words


def key_of(program: Program, name: str) -> tuple[str, bool]:
    """The dotted key of a flag, and whether the flag is its `--no-` form."""
    for spelled in dict.fromkeys((name, name.replace("-", "_"))):
        if (key := plain_or_dotted(program, spelled)) is not None:
            return key, False
    for negation in ("no-", "no_"):
        positive = name.removeprefix(negation).replace("-", "_")
        if name.startswith(negation) and (key := plain_or_dotted(program, positive)) in program.keys:
            if program.keys[key].annotation is bool:
                return key, True
    own = program.own.model_fields
    if several := program.plain.get(name.replace("-", "_").partition(".")[0]):
        raise ConfigError(f"--{name} could be {', '.join(f'--{key}' for key in several)}; write which")
    sections = known_sections() if program.section or program.schema is Config else "; --help lists all"
    also = (*program.also.model_fields, *other_spellings(program.also)) if program.also else ()
    names = (*own, *other_spellings(program.own), *also, *program.keys, "config", *program.switches)
    near = suggest(f"--{name}", [f"--{flag}" for flag in names])
    raise ConfigError(f"unknown flag --{name}{near or sections}")


def plain_or_dotted(program: Program, name: str) -> str | None:
    """A key of the program's own section, a key by its path, or another spelling of one; None where it is neither."""
    first, dot, below = name.partition(".")
    own = program.own.model_fields
    first = other_spellings(program.own).get(first, first)
    if first in own and (program.section or program.schema is not Config):
        plain = first + dot + below
        return f"{program.section}.{plain}" if program.section else plain
    if name in program.aliases:
        return program.aliases[name]
    if len(keys := program.plain.get(name.partition(".")[0], ())) == 1:
        return keys[0] + dot + below
    return rename_path(program.schema, name) if dot else None


def rename_path(schema: type[BaseModel], path: str) -> str:
    """A dotted path with other spellings replaced by the schema's own."""
    first, dot, below = path.partition(".")
    first = other_spellings(schema).get(first, first)
    section = section_schema(schema, first)
    return first + dot + (rename_path(section, below) if dot and section else below)


# Values


def next_value(name: str, rest: deque[str], given: bool = False) -> str:
    """The word after a flag; `given` where it was written `--flag=value`, and may be anything."""
    if not rest:
        raise ConfigError(f"--{name} needs a value")
    if rest[0].startswith("--") and not given:
        raise ConfigError(f"--{name} needs a value, found the flag {rest[0]}")
    return rest.popleft()


def read_value(key: Any, name: str, rest: deque[str], given: bool) -> Any:
    """The value of one flag, as many words as its kind takes; what follows is left."""
    kind = strip_none(key.annotation) if key else None
    if kind is bool or is_bool_or_name(kind):
        takes_word = given or (rest and rest[0].lower() in TRUTHS)
        return yaml_value(rest.popleft()) if takes_word else True
    if get_origin(kind) is list:
        return read_list(kind, name, rest, given)
    text = next_value(name, rest, given)
    return text if takes_text(kind) else yaml_value(text)


def read_list(kind: Any, name: str, rest: deque[str], given: bool) -> Any:
    """Words up to the next flag; one word may hold several, `a,b` or `[a, b]`, or none, ''."""
    words = [rest.popleft()] if given else list(take_words(rest))
    if not words and not given:
        return []
    if words[0].startswith("["):
        return yaml_value(" ".join(words))
    texts = [text.strip() for word in words for text in word.split(",") if text.strip()]
    element = get_args(kind)[0]
    return [text if takes_text(element) or get_origin(element) is Literal else yaml_value(text) for text in texts]


def take_words(rest: deque[str]) -> Iterator[str]:
    while rest and not rest[0].startswith("--"):
        yield rest.popleft()


def strip_none(kind: Any) -> Any:
    """`X | None` -> X; any other union is left."""
    if get_origin(kind) in (Union, UnionType):
        kinds = [part for part in get_args(kind) if part is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def is_bool_or_name(kind: Any) -> bool:
    """`bool | Literal["auto"]`."""
    return get_origin(kind) in (Union, UnionType) and bool in get_args(kind)


def takes_text(kind: Any) -> bool:
    """Whether a key is a plain string or a path, so that its flag is taken as it stands ("run #1", "2018")."""
    return (get_args(kind)[0] if get_origin(kind) is Annotated else kind) in (str, Path)


def yaml_value(text: str) -> Any:
    """A flag's text read as YAML, so that `True`, `3e-4`, `[a, b]` mean what they mean in a file."""
    try:
        return float(text) if is_float(text) else load_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"'{text[:80]}' is not a YAML value: {error.__class__.__name__}") from None


# Layers


def file_layers(program: Program, files: list[str]) -> list[Layer]:
    names = files or ([program.default_preset] if program.default_preset else [])
    layers = [layer for name in names for layer in load_layers(find_config(name))]
    return [Layer(layer.origin, own_spelling(program, layer)) for layer in layers]


def own_spelling(program: Program, layer: Layer) -> Tree:
    """A file's tree in the schema's own spelling, without headings where these mean nothing."""
    tree = layer.tree
    if program.headings:
        tree = {}
        for name, value in layer.tree.items():
            tree |= value if isinstance(value, dict) else {name: value}
    return rename_keys(program.schema, tree)


def rename_keys(schema: type[BaseModel], tree: Tree) -> Tree:
    spellings = other_spellings(schema)
    renamed = {}
    for key, value in tree.items():
        name = spellings.get(key, key)
        section = section_schema(schema, name)
        renamed[name] = rename_keys(section, value) if section and isinstance(value, dict) else value
    return renamed


def merge_layers(layers: list[Layer]) -> Tree:
    """One tree of all layers, later ones on top; the layers stay as they are."""
    merged: Tree = {}
    for layer in layers:
        merge(merged, copy.deepcopy(layer.tree))
    return merged


def environment_layer(program: Program, layers: list[Layer]) -> Layer:
    """What the environment sets, by the variables that the program reads under the values known so far."""
    tree: Tree = {}
    for key, variables in program.environment(merge_layers(layers)).items():
        value = next((os.environ[name] for name in variables if os.environ.get(name)), None)
        if value is not None:
            set_path(tree, key, value)
    return Layer("environment", tree)


def origins_of(program: Program, layers: list[Layer], flags: dict[str, str]) -> dict[str, str]:
    """key -> what set it, of every key that something set."""
    origins = {}
    for key in program.keys:
        setters = [layer.origin for layer in layers if has_path(layer.tree, key)]
        by_flag = next((flag for path, flag in flags.items() if path == key or path.startswith(f"{key}.")), "")
        if by_flag or setters:
            origins[key] = by_flag or setters[-1]
    return origins


def start_from_home(config: Any, origins: Mapping[str, str], prefix: str = "") -> Any:
    """Relative paths of presets and defaults start from the checkout where its own scripts are called; flags do not."""
    moved: Tree = {}
    for name in type(config).model_fields:
        value, key = getattr(config, name), f"{prefix}{name}"
        if isinstance(value, BaseModel):
            moved[name] = start_from_home(value, origins, f"{key}.")
        elif isinstance(value, Path) and not origins.get(key, "").startswith("--"):
            moved[name] = from_home(value)
    return config.model_copy(update=moved)
