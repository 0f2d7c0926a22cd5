"""Command line and preset files -> Config: files merge left to right, then flags; unknown keys fail at once.

A preset may open with `extends: other.yaml`. A stage script takes the keys of its own section as plain flags
(`--learning_rate 3e-4`) and all others by path (`--data.dataset Office_Products`); the pipeline takes paths only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml

from genrec.config import ROOT, Config, ConfigError, all_paths, known_sections, validate, walk
from genrec.config_checks import nearest

FOR_LAUNCHERS = {"accelerate", "zero2_opt.yaml"}  # of config/: what accelerate and DeepSpeed read
DEFAULT_CONFIG = ROOT / "config" / "0.5b.yaml"


class Command(NamedTuple):
    """What a command line says: the config, and what to do about this one call."""

    config: Config
    clean: bool
    dry_run: bool


# Spellings of seed commands for keys that live elsewhere under one name.
ALIASES = {
    "category": "data.dataset",
    "dataset": "data.dataset",
    "root": "run.dir",
    "num_quantization_layers": "sids.num_levels",
}


def parse(argv: list[str] | None = None, section: str | None = None, doc: str = "") -> Command:
    """Command line -> Command; prints help or one clear line and exits (0 / 2) where there is nothing to run."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(help_text(section, doc))
        raise SystemExit(0)
    with usage_errors():
        return parse_strict(argv, section)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Within: a command line that cannot be used ends the program in one line, with exit 2."""
    try:
        yield
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def parse_strict(argv: list[str], section: str | None = None) -> Command:
    files, flags, switches = split_argv(argv, section)
    merged: dict[str, Any] = {}
    for file in files or [DEFAULT_CONFIG]:
        merge(merged, load_yaml(Path(file)))
    for path, value in flags:
        set_path(merged, path, value)
    return Command(validate(merged), "clean" in switches, "dry-run" in switches)


def split_argv(argv: list[str], section: str | None) -> tuple[list[str], list[tuple[str, Any]], set[str]]:
    """`--config F`, `--a.b V`, `--a.b=V`, `--clean`, `--dry-run` -> files, (path, value) pairs, switches."""
    files, flags, switches = [], [], set()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"expected a flag that starts with --, found '{word}'")
        name, equals, value = word[2:].partition("=")
        if name in ("clean", "dry-run"):
            switches.add(name)
            continue
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} needs a value")
            value = rest.pop(0)
        if name == "config":
            files.append(value)
        else:
            path = full_path(name, section)
            flags.append((path, value if takes_text(path) else yaml_value(value)))
    return files, flags, switches


def full_path(name: str, section: str | None) -> str:
    """The path of a flag: a key of the script's own section, a path from the top, or a seed spelling."""
    own = Config.model_fields[section].annotation.model_fields if section else {}
    first = name.partition(".")[0]
    if first in own:
        return f"{section}.{name}"
    if "." in name:
        return name
    if name in ALIASES:
        return ALIASES[name]
    raise ConfigError(f"unknown flag --{name}{nearest(name, [*own, *all_paths()]) or known_sections()}")


def takes_text(path: str) -> bool:
    """Whether a key is a plain string or a path, so that its flag is taken as it stands ("run #1", "2018")."""
    field = dict(walk(Config)).get(path)
    kinds = {field.annotation, *get_args(field.annotation)} if field else set()
    return bool(kinds & {str, Path}) and kinds <= {str, Path, type(None), *([field.annotation] if field else [])}


def yaml_value(text: str) -> Any:
    """A flag's text read as YAML, so that `True`, `3e-4`, `[a, b]` mean what they mean in a file."""
    try:
        return float(text) if _is_float(text) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{text}' is not a YAML value: {error.__class__.__name__}") from None


def _is_float(text: str) -> bool:
    """YAML 1.1 reads 3e-4 as a string; a number is a number here."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower() and text.lower() not in ("nan", "inf")


def load_yaml(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A config file with what it extends beneath it (`extends` is relative to the file)."""
    if path.resolve() in below:
        raise ConfigError(f"{path} extends itself, by way of {', '.join(str(file) for file in below)}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=NoRepeats) or {}
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}; presets: {', '.join(presets())}") from None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections (run:, data:, ...), found {type(content).__name__}")
    content = _numbers(content)
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends must name one file, found {base!r}")
    return merge(load_yaml(path.parent / base, (*below, path.resolve())), content)


class NoRepeats(yaml.SafeLoader):
    """YAML in which a key may stand once; PyYAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"'{key.value}' stands twice, line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _numbers(value: Any) -> Any:
    """The same tree with `5e-4` read as a number in files too."""
    if isinstance(value, dict):
        return {key: _numbers(child) for key, child in value.items()}
    return float(value) if isinstance(value, str) and _is_float(value) else value


def presets() -> list[str]:
    files = (path.relative_to(ROOT) for path in (ROOT / "config").rglob("*.yaml"))
    return sorted(str(path) for path in files if not FOR_LAUNCHERS & set(path.parts))


# Keys whose value is a free mapping: an overlay replaces a mixture of tasks or rewards, but adds to trainer arguments.
REPLACED_WHOLE = {"tasks", "reward_type"}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, in place: mappings merge key by key, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in REPLACED_WHOLE:
            merge(base[key], value)
        else:
            base[key] = value
    return base


def set_path(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{path}: '{name}' is a value, not a section")
    tree[last] = value


def help_text(section: str | None, doc: str) -> str:
    lines = [doc.strip(), ""] if doc else []
    preset = DEFAULT_CONFIG.relative_to(ROOT)
    lines += ["Options of every script:"]
    lines += _rows(
        [
            ("--config FILE", f"preset, repeatable, later ones win; without any {preset}. Else the defaults below"),
            ("--dry-run", "say what would be done and why"),
            ("--clean", "throw away what this stage wrote before and start anew"),
        ]
    )
    shown = [section, "run"] if section else list(Config.model_fields)
    for name in shown:
        model = Config.model_fields[name].annotation
        lines += ["", f"{name}: {model.__doc__.strip() if model.__doc__ else ''}"]
        prefix = "--" if name == section else f"--{name}."
        lines += _rows([(f"{prefix}{path}", _describe(field)) for path, field in walk(model)])
    if section:
        others = ", ".join(f"--{name}.*" for name in Config.model_fields if name not in shown)
        own = Config.model_fields[section].annotation.model_fields
        short = ", ".join(f"--{name} is --{path}" for name, path in ALIASES.items() if name not in own)
        lines += ["", f"Other sections by path: {others}", f"Short: {short}", f"Presets: {', '.join(presets())}"]
    return "\n".join(lines)


def _describe(field: Any) -> str:
    """What a knob is for, the names it takes, and its default."""
    names, default = names_of(field.annotation), field.default
    default = ",".join(default) if names and isinstance(default, list) else default
    shown = "empty" if default in (None, "") else default
    return f"{field.description} ({' | '.join(names)}{'; ' if names else ''}default {shown})"


def names_of(kind: Any) -> tuple[str, ...]:
    """The names that a knob takes, or a list or mapping of them; () where it takes numbers or free text."""
    if get_origin(kind) in (list, dict):
        return names_of(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) is Literal else ()


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows) + 2
    return [f"  {left:<{width}}{right}" for left, right in rows]


def value_at(config: Config, path: str) -> Any:
    """The value of one dotted key, for shell scripts."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


if __name__ == "__main__":
    # python -m genrec.commandline [KEY] [flags]: check a configuration; print it resolved, or one key of it
    asked = [word for word in sys.argv[1:2] if not word.startswith("--")]
    resolved = parse(sys.argv[1 + len(asked) :]).config
    print(value_at(resolved, asked[0]) if asked else yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False))
