"""Runs side by side: what each was made of, what it scored, what differs.

Reads   the manifests and the evaluation of every run named
Writes  nothing; with --html FILE a page with the tables, learning curves and paired differences

    genrec runs outputs/*
    genrec runs outputs/quickstart outputs/slower --models sft,rl
    genrec runs outputs/* --html runs.html
"""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator

from genrec.artifacts import write_text
from genrec.commandline import options_program, parse
from genrec.config import Section, comma_list, knob
from genrec.errors import ArtifactError, exit_on_failure
from genrec.pipeline import RUN, RUNS, call_of
from genrec.run_choice import is_run


class RunsOptions(Section):
    """Which runs, and what of them."""

    runs: list[Path] = knob([], "run directories; also the words before the first flag; outputs/* when empty")
    models: list[str] = knob([], "rows of their tables; when empty the trained model that stands for a run")
    html: Path | None = knob(None, "a page to write")
    seed: int = knob(42, "of the paired tests", ge=0)

    split_models = field_validator("models", mode="before")(comma_list)


def main(argv: list[str] | None = None) -> None:
    options = parse(options_program(call_of(*RUNS), __doc__, RunsOptions, words="runs"), argv).config
    with exit_on_failure(options.html or Path(".")):
        print(show_runs(options))


def show_runs(options: RunsOptions) -> str:
    from genrec.evaluation.runs import describe_runs, read_run

    named = options.runs or sorted(path for path in Path("outputs").glob("*") if is_run(path))
    runs = [read_run(path) for path in named if is_run(path)]
    if not runs:
        among = f"none of {' '.join(map(str, named[:3]))} is a run" if named else "there is no run below outputs/"
        raise ArtifactError(f"{among}; name run directories, or make one: {call_of(*RUN)}")
    left_out = [str(path) for path in named if not is_run(path)]
    text = describe_runs(runs, options.models) + (f"\nno runs: {', '.join(left_out)}\n" if left_out else "")
    if options.html is None:
        return text
    from genrec.evaluation.runs_page import render_runs

    write_text(options.html, render_runs(runs, options.models, options.seed))
    return f"{text}\nwritten: {options.html}"
