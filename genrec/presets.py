"""Preset files, YAML or JSON: found by name or path, read strictly, laid one over another.

A preset may begin with `extends: other.yaml` (relative to itself). Mappings merge key by key, all else is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from genrec.config import expand_home
from genrec.errors import ConfigError, suggest
from genrec.places import presets_dir
from genrec.windows import KEYS as WINDOW_KEYS
from genrec.windows import Collection, is_own_shop

FOR_LAUNCHERS = {"accelerate", "ray", "zero2_opt.yaml"}  # of config/: what accelerate, Ray and DeepSpeed read

# Keys whose value is a free mapping: an overlay replaces a mixture of tasks or rewards, but adds to trainer arguments.
REPLACED_WHOLE = {"tasks", "reward_type", "teacher", "event_weights"}

WORD = "tag:yaml.org,2002:str"  # PyYAML's tag of a text; yes, 3 and 2020-01-01 have others

Tree = dict[str, Any]  # sections, keys and values, as a file holds them


class Layer(NamedTuple):
    """One file's keys, or the environment's, or the flags', and what to call the place they came from."""

    origin: str
    tree: Tree


def preset_names() -> list[str]:
    """Presets by the names that `--config` takes: quickstart, datasets/toys_and_games, ..."""
    files = (path.relative_to(presets_dir()) for path in presets_dir().rglob("*.yaml"))
    return sorted(file.with_suffix("").as_posix() for file in files if not FOR_LAUNCHERS & set(file.parts))


def find_config(name: str) -> Path:
    """A config file by path, or a preset by its bare name or its path in a checkout (config/quickstart.yaml)."""
    path = expand_home(Path(name))
    preset = path.relative_to("config") if path.parts[:1] == ("config",) else path
    for candidate in (path, presets_dir() / preset, presets_dir() / f"{preset}.yaml"):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; --config takes a file or a preset: {', '.join(preset_names())}")
    near = suggest(preset.with_suffix("").as_posix(), preset_names())
    raise ConfigError(f"no config file {path}{near}; presets: {', '.join(preset_names())}")


def load_layers(path: Path, below: tuple[Path, ...] = ()) -> list[Layer]:
    """A config file, with what it extends beneath it."""
    if path.resolve() in below:
        raise ConfigError(f"{path} extends itself, by way of {', '.join(str(file) for file in below)}")
    tree = read_config(path)
    base = tree.pop("extends", None)
    own = Layer(path.name, tree)
    if base is None:
        return [own]
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends must name one file, found {base!r}")
    beneath = path.parent / base
    beneath = beneath if beneath.is_file() else find_config(base)
    return [*load_layers(beneath, (*below, path.resolve())), own]


def read_config(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = (load_json(text) if path.suffix == ".json" else load_yaml(text)) or {}
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply for a configuration") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections (run:, data:, ...), found {type(content).__name__}")
    return read_numbers(content)


def load_yaml(text: str) -> Any:
    """The value of a YAML text, or yaml.YAMLError whatever is wrong with it; RecursionError where it is too deep."""
    try:
        return yaml.load(text, Loader=PlainLoader)
    except (ValueError, AttributeError, TypeError) as error:  # 2020-13-45, `!!int x`: PyYAML's own, of any kind
        raise yaml.YAMLError(f"a value that is not of its kind ({error})") from None


def load_json(text: str) -> Any:
    """The value of a JSON text in which a key may stand once, as in YAML."""
    return json.loads(text, object_pairs_hook=refuse_repeats)


def refuse_repeats(pairs: list[tuple[str, Any]]) -> Tree:
    keys = [key for key, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise json.JSONDecodeError(f"'{twice}' stands twice", twice, 0)
    return dict(pairs)


class PlainLoader(yaml.SafeLoader):
    """YAML in which a key may stand once (PyYAML would drop the first in silence), and nothing is repeated by alias.

    A file of a kilobyte can mean gigabytes by aliases of aliases.
    """

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.YAMLError(f"alias *{alias.anchor}, line {alias.start_mark.line + 1}; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag != WORD:
                shown = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise yaml.YAMLError(f"every key must be a word, found {shown}, line {key.start_mark.line + 1}")
            if key.value in seen:
                raise yaml.YAMLError(f"'{key.value}' stands twice, line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_numbers(value: Any) -> Any:
    """The same tree with `5e-4` read as a number, which YAML 1.1 reads as a string."""
    if isinstance(value, dict):
        return {key: read_numbers(child) for key, child in value.items()}
    return float(value) if isinstance(value, str) and is_float(value) else value


def is_float(text: str) -> bool:
    """Whether a text is a number in scientific notation."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower() and text.lower() not in ("nan", "inf", "-inf", "+inf") and "inf" not in text.lower()


def merge(base: Tree, over: Tree) -> Tree:
    """`over` laid on `base`, in place: mappings merge key by key, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in REPLACED_WHOLE:
            merge(base[key], value)
        else:
            base[key] = value
    return base


def drop_foreign_windows(layers: Sequence[Layer], default: Collection) -> list[Layer]:
    """A window belongs to the collection that is named beside it, or was when it was laid on; to another it is foreign.

    So `--data.source amazon23` over a preset for amazon18 is not cut where Amazon 2018 ends. A file that gives nothing
    but a window means whatever collection it is laid on.
    """
    sections = [data if isinstance(data := layer.tree.get("data"), dict) else {} for layer in layers]
    named = [default]
    for section in sections:
        named.append(named[-1]._replace(**{key: str(section[key]) for key in Collection._fields if key in section}))
    kept = []
    for layer, section, collection in zip(layers, sections, named[1:], strict=True):
        names_one = any(key in section for key in Collection._fields)
        of_a_table = is_own_shop(named[-1].source) and not is_own_shop(collection.source)
        foreign = names_one and (of_a_table or collection.window != named[-1].window)
        kept.append(Layer(layer.origin, without_window(layer.tree)) if foreign else layer)
    return kept


def without_window(tree: Tree) -> Tree:
    return {**tree, "data": {key: value for key, value in tree["data"].items() if key not in WINDOW_KEYS}}


def set_path(tree: Tree, path: str, value: Any) -> None:
    """Set a dotted key; sections on the way are made."""
    *parents, last = path.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{path}: '{name}' is a value, not a section")
    tree[last] = value


def has_path(tree: Tree, path: str) -> bool:
    value: Any = tree
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True
