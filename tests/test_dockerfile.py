"""The Dockerfile without Docker: parsed as its reference says, and held to what it promises."""

import re
import shlex
import tomllib

import pytest

from tests import ROOT

INSTRUCTIONS = {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD"}
INSTRUCTIONS |= {"RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}


def instructions(text):
    """[(name, arguments)]: comment lines dropped, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def faults(text):
    """What is wrong with a Dockerfile, a sentence each."""
    stages, declared = [], {}
    for name, rest in instructions(text):
        if name not in INSTRUCTIONS:
            yield f"{name} is no instruction"
        if name == "ARG" and not stages:
            declared.update([rest.split("=", 1)])
        if name == "FROM":
            image, stage = re.fullmatch(r"(\S+)(?: AS (\S+))?", rest).groups()
            tagged = re.fullmatch(r"[^:@]+(:(?!latest$)[\w.-]+|@sha256:\w+)", image)
            if not tagged and resolve(image, declared) not in stages:
                yield f"FROM {image} is neither tagged nor a stage before it"
            stages.append(stage)
        if name == "ADD":
            yield f"ADD {rest}: COPY copies, and nothing is fetched without a checksum"
        if name in ("ENTRYPOINT", "CMD") and not rest.startswith("["):
            yield f"{name} {rest} runs in a shell, which takes the signals"
    last = [name for name, _ in instructions(text)]
    last = last[len(last) - last[::-1].index("FROM") :]
    if "USER" not in last or "ENTRYPOINT" not in last:
        yield "the image has no USER or no ENTRYPOINT"


def resolve(image, declared):
    return re.sub(r"\$\{(\w+)\}", lambda found: declared[found[1]], image)


@pytest.fixture
def dockerfile():
    return (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_has_no_fault(dockerfile):
    assert list(faults(dockerfile)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('FROM python\nUSER x\nENTRYPOINT ["x"]', "neither tagged"),
        ('FROM python:latest\nUSER x\nENTRYPOINT ["x"]', "neither tagged"),
        ('ARG B=gpu\nFROM a:1 AS cpu\nFROM ${B}\nUSER x\nENTRYPOINT ["x"]', "neither tagged"),
        ('FROM a:1\nINSTALL b\nUSER x\nENTRYPOINT ["x"]', "no instruction"),
        ('FROM a:1\nADD https://b /c\nUSER x\nENTRYPOINT ["x"]', "ADD"),
        ('FROM a:1 AS one\nUSER x\nFROM one\nENTRYPOINT ["x"]', "no USER"),
        ("FROM a:1\nUSER x\nENTRYPOINT x", "in a shell"),
    ],
)
def test_faults_are_found(text, said):
    assert [said in fault for fault in faults(text)] == [True]


def test_the_stage_that_a_build_argument_names_is_there_and_cpu_is_the_default(dockerfile):
    assert ("ARG", "BUILD=cpu") in instructions(dockerfile)
    stages = {rest.split(" AS ")[1] for name, rest in instructions(dockerfile) if name == "FROM" and " AS " in rest}
    assert {resolve("torch-${BUILD}", {"BUILD": build}) for build in ("cpu", "cuda")} <= stages


def test_the_entry_point_is_a_command_of_the_package_run_by_another_user_than_root(dockerfile):
    given = dict(instructions(dockerfile))  # of several, the last counts
    assert given["USER"] not in ("root", "0")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert given["ENTRYPOINT"] in [f'["{name}"]' for name in scripts]


def test_the_context_holds_what_is_copied_and_what_the_package_is_built_from(dockerfile):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and kept >= {
        "pyproject.toml",
        "setup.py",
        "README.md",
        "config",
        "genrec",
        "requirements.txt",
    }
    assert all((ROOT / name).exists() for name in kept)
    for name, rest in instructions(dockerfile):
        if name == "COPY":
            *sources, _ = shlex.split(rest)
            assert set(sources) <= kept | {"."}
