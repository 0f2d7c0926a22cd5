"""Pages that are made when the site is built, a hook of mkdocs: every key, every module, and the papers of the root.

reference/configuration.md      every key of the configuration, from the schema
reference/flags.md              the flags of commands that have a schema of their own
reference/python.md             the list of public modules, with a page each under reference/python/
project/*.md                    CONTRIBUTING.md and CHANGELOG.md, as they lie in the root
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter

from genrec.commandline import ALIASES
from genrec.config import Config, Section, walk
from genrec.serving.settings import ServeOptions
from genrec.stages.ab import AbOptions, PlanOptions
from genrec.stages.advise import AdviceOptions
from genrec.stages.compare import ComparisonOptions
from genrec.stages.plan import ScaleOptions
from genrec.stages.push import PushOptions
from genrec.stages.recommend import RecommendOptions
from genrec.stages.run import Pipeline
from genrec.stages.runs import RunsOptions
from tencentgr.options import RqvaeOptions, SampleOptions, TencentGROptions

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("genrec", "tencentgr", "UR4Rec")
PAPERS = {"project/contributing.md": "CONTRIBUTING.md", "project/changelog.md": "CHANGELOG.md"}
CONFIGURATION, FLAGS, PYTHON = "reference/configuration.md", "reference/flags.md", "reference/python.md"
# Commands that do not take the configuration's keys, or not only: the schema of their own flags.
OWN_FLAGS: dict[str, type[Section]] = {
    "genrec run": Pipeline,
    "genrec advise": AdviceOptions,
    "genrec compare": ComparisonOptions,
    "genrec recommend": RecommendOptions,
    "genrec serve": ServeOptions,
    "genrec push": PushOptions,
    "genrec runs": RunsOptions,
    "genrec plan": ScaleOptions,
    "genrec ab": AbOptions,
    "genrec ab plan": PlanOptions,
    "tencentgr/main.py": TencentGROptions,
    "tencentgr/train_rqvae.py": RqvaeOptions,
    "tencentgr/make_sample.py": SampleOptions,
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages of the modules behind their list in the navigation, a section a package."""
    reference = next(entry["Reference"] for entry in config.nav if isinstance(entry, dict) and "Reference" in entry)
    reference[reference.index(PYTHON)] = {"Python": [PYTHON, *module_nav()]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    for address, text in generated_pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def generated_pages() -> dict[str, str]:
    """address below docs/ -> Markdown."""
    papers = {address: paper(name) for address, name in PAPERS.items()}
    modules = {module_page(name): f"# {name}\n\n::: {name}\n" for name in public_modules()}
    return {CONFIGURATION: configuration_page(), FLAGS: flags_page(), PYTHON: python_page(), **modules, **papers}


def paper(name: str) -> str:
    """A page of the root, its links turned to where they lead on the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](../").replace("](CONTRIBUTING.md", "](contributing.md")


# Every key

KEYS = """# Every key

Made from the schema, `genrec/config.py`. A key goes by path in files and flags (`--sft.batch_size 64`); a stage takes
its own section's keys as plain flags too. *Result* says whether another value changes what is made: then the artifacts
that depend on it become stale. How files and flags are laid over one another: [configuration](../configuration.md).
"""


FLAT = """# Flags of single commands

Flags that are no keys of the configuration. `genrec run` hands all others on to every stage.
"""


def configuration_page() -> str:
    parts = [KEYS]
    for name, field in Config.model_fields.items():
        lines = [line(path, leaf, f"{{#{path}}}", in_result(leaf)) for path, leaf in walk(field.annotation, f"{name}.")]
        parts += [heading(name, field.annotation), head("key", "what", "takes", "default", "result"), *lines, ""]
    return "\n".join(parts)


def flags_page() -> str:
    parts = [FLAT]
    for command, schema in OWN_FLAGS.items():
        lines = [line(f"--{name}", field) for name, field in walk(schema)]
        parts += [heading(command, schema), head("flag", "what", "takes", "default"), *lines, ""]
    return "\n".join(parts)


def heading(name: str, schema: type[Section]) -> str:
    return f"## {name}\n\n{schema.__doc__.strip()}\n"


def head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def line(name: str, field: Any, anchor: str = "", *more: str) -> str:
    """Of a table: name, help, values and bounds, default, and what else there is."""
    aliases = (f"--{alias}" for alias, key in ALIASES.items() if key == name)
    names = [*field.json_schema_extra.get("spellings", ()), *aliases]
    also = f" (also {', '.join(names)})" if names else ""
    cells = (f"`{name}`{anchor}", escaped(field.description + also), values(field), default(field), *more)
    return f"| {' | '.join(cells)} |"


def in_result(field: Any) -> str:
    return "yes" if field.json_schema_extra["result"] else "no"


def values(field: Any) -> str:
    """What a key takes, with its bounds, in words."""
    return in_words(TypeAdapter(Annotated[field.annotation, field]).json_schema())


def in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(in_words(choice) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        names = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{name}`" for name in names)
    kind = schema.get("type", "any value")
    if kind == "array":
        least = f" (at least {schema['minItems']})" if schema.get("minItems") else ""
        return f"list{least} of {in_words(schema['items'])}"
    if kind == "object":
        named = f" of {in_words(schema['propertyNames'])}" if "propertyNames" in schema else ""
        to = schema.get("additionalProperties")
        return f"mapping{named}" + (f" to {in_words(to)}" if isinstance(to, dict) and to else "")
    text = "path" if schema.get("format") == "path" else "text"
    words = {"boolean": "`True`, `False`", "null": "empty", "string": text}
    return words.get(kind, kind) + bounds(schema)


BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def bounds(schema: dict[str, Any]) -> str:
    said = [f"{word} {schema[name]:g}" for name, word in BOUNDS.items() if name in schema]
    said += [f"like `{escaped(schema['pattern'])}`"] if "pattern" in schema else []
    return f" {', '.join(said)}" if said else ""


def default(field: Any) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value in (None, ""):
        return "empty"
    if isinstance(value, Path | str):
        return f"`{value}`"
    if isinstance(value, list | dict):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


def escaped(text: str) -> str:
    """For a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


# Every module


def public_modules() -> list[str]:
    """Dotted names of the packages' modules that hold something and whose names do not begin with an underscore."""
    return [
        dotted(path)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"), key=lambda path: (path.parent, path.name))
        if not path.name.startswith("_") and (path.parent / "__init__.py").exists() and path.stat().st_size
    ]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def module_page(name: str) -> str:
    return f"reference/python/{name}.md"


def module_nav() -> list[dict[str, Any]]:
    """[{"genrec": [...]}, {"genrec.data": [...]}, ...]: a section a package, a page a module."""
    packages: dict[str, list[str]] = {}
    for name in public_modules():
        packages.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        {package: [{name.rpartition(".")[2]: module_page(name)} for name in names]}
        for package, names in packages.items()
    ]


def python_page() -> str:
    lines = ["# Python", "", "Every public module, with what it is for.", ""]
    for section in module_nav():
        for package, pages in section.items():
            lines += [f"## {package}", "", "| module | what |", "|---|---|"]
            lines += [module_row(package, name) for page in pages for name in page]
            lines.append("")
    return "\n".join(lines)


def module_row(package: str, name: str) -> str:
    return f"| [{name}](python/{package}.{name}.md) | {purpose(f'{package}.{name}')} |"


def purpose(module: str) -> str:
    """The first paragraph of a module's docstring."""
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    return escaped(" ".join(text.partition("\n\n")[0].split()))
