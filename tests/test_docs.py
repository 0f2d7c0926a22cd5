"""The documents say what is so: links, commands, flags and keys exist, and nothing is left out of the reference."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from genrec.cli import purposes
from genrec.commandline import ALIASES
from genrec.config import Config, Update, all_paths, other_spellings
from genrec.pipeline import EVERY
from genrec.serving.settings import ServeOptions
from genrec.stages.ab import AbOptions, PlanOptions
from genrec.stages.advise import AdviceOptions
from genrec.stages.compare import ComparisonOptions
from genrec.stages.plan import ScaleOptions
from genrec.stages.push import PushOptions
from genrec.stages.recommend import RecommendOptions
from genrec.stages.run import Pipeline
from tencentgr.options import RqvaeOptions, SampleOptions, TencentGROptions

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / ".github/pull_request_template.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
SECTION = "|".join(Config.model_fields)
KEY = re.compile(rf"(?:--|`)((?:{SECTION})\.[A-Za-z_.0-9]+)")  # as a flag, or in code
COMMAND = re.compile(r"(?:^ *|`)((?:genrec|python|bash) [^`\n#]+)", re.MULTILINE)
# What a command takes beside the keys of its section.
SWITCHES = {"config", "clean", "dry-run", "show-config", "help"}
PLAIN = {
    **{name: Config.model_fields[s.section].annotation for s in EVERY.values() for name in (s.command, s.script)},
    **dict.fromkeys(("run", "pipeline_0.5b.sh"), Pipeline),
    **dict.fromkeys(("advise", "optimization_strategies.py"), AdviceOptions),
    **dict.fromkeys(("compare", "compare_results.py"), ComparisonOptions),
    "ab": AbOptions,
    "ab plan": PlanOptions,
    "plan": ScaleOptions,
    "recommend": RecommendOptions,
    **dict.fromkeys(("serve", "serve.py"), ServeOptions),
    "push": PushOptions,
    "update": Update,
    "main.py": TencentGROptions,
    "train_rqvae.py": RqvaeOptions,
    "make_sample.py": SampleOptions,
}  # command, by either name -> the schema of its plain flags


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands_of(page: Path) -> list[list[str]]:
    """The words of every command that a page gives, lines that go on joined; a name such as `genrec` alone is none."""
    joined = re.sub(r" *\\\n *", " ", text_of(page))
    return [shlex.split(line.replace("'s ", " "), posix=True) for line in COMMAND.findall(joined)]


@cache
def mkdocs() -> dict:
    """mkdocs.yml as plain values."""
    return yaml.safe_load(text_of(ROOT / "mkdocs.yml"))


@cache
def generate():
    """docs/generate.py, which mkdocs runs as a hook."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav: list) -> list[str]:
    """Every address of a navigation, from whatever depth."""
    pages = []
    for entry in nav:
        for target in entry.values() if isinstance(entry, dict) else (entry,):
            pages += pages_of(target) if isinstance(target, list) else [target]
    return pages


def is_key(path: str) -> bool:
    """A key of the schema, one below a free mapping, or a section of sections (`sft.lora`)."""
    return any(path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in all_paths())


def test_the_readme_fits_one_screen():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 120


def test_both_readmes_tell_the_figures_of_the_results():
    english, chinese = (figures(ROOT / name) for name in ("README.md", "README.zh-CN.md"))
    assert english == chinese
    assert set(english) <= {figure for page in (ROOT / "docs/results").glob("*.md") for figure in figures(page)}


def figures(page: Path) -> list[str]:
    return re.findall(r"(?<!\d)\.\d{4}", text_of(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_to_a_file(page):
    for target in LINK.findall(text_of(page)):
        if not target.startswith(("http:", "https:", "mailto:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{named(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_key_is_in_the_schema(page):
    names = {name.rstrip(".") for name in KEY.findall(text_of(page))}
    unknown = {name for name in names if not name.endswith((".py", ".sh")) and not is_key(name)}
    assert page.name == "CHANGELOG.md" or not unknown, unknown  # that one names what there was


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_is_there(page):
    for program, name, *_ in (words for words in commands_of(page) if len(words) > 1):
        if program == "genrec":
            assert name in {*purposes(), "presets", "--help", "STAGE", "COMMAND", "TASK"}, (
                f"{named(page)}: genrec {name}"
            )
        elif name.endswith((".py", ".sh")):
            assert any((ROOT / folder / name).exists() for folder in ("", "tencentgr")), f"{named(page)}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_plain_flag_is_of_its_command(page):
    for words in commands_of(page):
        schema = PLAIN.get(" ".join(words[1:3]), PLAIN.get(words[1])) if len(words) > 1 else None
        if schema is not None:
            own = {*schema.model_fields, *other_spellings(schema), *ALIASES, *SWITCHES, *Config.model_fields}
            plain = {word[2:].partition("=")[0].partition(".")[0] for word in words if word.startswith("--")}
            assert plain <= own, (named(page), words, plain - own)


def test_every_module_that_the_architecture_names_is_there():
    text = text_of(ROOT / "docs" / "architecture.md") + text_of(ROOT / "CONTRIBUTING.md")
    for path in re.findall(r"`((?:genrec|tests|tencentgr|UR4Rec)/[^`\s]*)`", text):
        head, braces, rest = path.partition("{")
        names, _, tail = rest.partition("}")
        for name in names.split(",") if braces else ("",):
            assert (ROOT / f"{head}{name}{tail}").exists(), f"{head}{name}{tail}"


def test_every_page_of_the_navigation_is_there():
    made = generate().generated_pages()
    for address in pages_of(mkdocs()["nav"]):
        assert (ROOT / "docs" / address).exists() or address in made, address


def test_every_page_is_in_the_navigation():
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert written <= set(pages_of(mkdocs()["nav"]))


def test_the_reference_names_every_key_with_its_help():
    page = generate().configuration_page()
    for path, field in generate().walk(Config):
        assert f"| `{path}`" in page, path
        assert generate().escaped(field.description) in page, path


def test_the_reference_words_bounds_names_and_defaults():
    page = generate().configuration_page()
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "integer at least 1, at most 8 | `3` | yes |" in lines["sids.num_levels"]
    assert "number at least 0, at most 1 or `auto`" in lines["sids.alpha"]
    assert "`auto`, `chronological`, `leave_one_out`, `new_items` | `auto`" in lines["data.split"]
    assert "number above 0, at most 10 or empty | empty" in lines["sids.learning_rate"]
    assert lines["run.dir"].endswith("| path | `outputs/{dataset}` | no |")


def test_every_module_has_a_page_and_says_what_it_is_for():
    made = generate().generated_pages()
    for name in generate().public_modules():
        assert generate().module_page(name) in made
        assert generate().purpose(name), f"{name} has no docstring"


def test_the_citation_names_no_one_who_is_not_there():
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert citation["authors"] == [{"name": "The genrec authors"}] and citation["license"] == "Apache-2.0"


def test_forms_and_hooks_are_yaml():
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(text_of(path)), dict), path


def test_the_workflow_calls_the_one_test_command():
    workflow = yaml.safe_load(text_of(ROOT / ".github/workflows/test.yml"))
    steps = workflow["jobs"]["test"]["steps"]
    assert any("bash test.sh" in step.get("run", "") for step in steps)


def test_hooks_download_nothing():
    for repository in yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))["repos"]:
        assert repository["repo"] == "local" and all(hook["language"] == "system" for hook in repository["hooks"])
