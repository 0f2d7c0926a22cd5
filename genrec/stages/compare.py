"""Did it help? Evaluations of the same rows, compared user by user.

Reads   results.json and per_example.npz of two models, or of more
Writes  <output_dir>/comparison.json, comparison.txt, comparison.png; of more than two a table in comparison.{json,txt}

    genrec compare a/evaluation/sft b/evaluation/sft c/evaluation/sft     # each against the first
    genrec compare --baseline a/evaluation/sft/results.json --optimized b/evaluation/sft/results.json
    genrec compare --baseline a/evaluation/sasrec --optimized a/evaluation/sft --output_dir out
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from genrec.artifacts import RESULTS, read_json, read_manifest, require, write_json, write_text
from genrec.commandline import options_program, parse
from genrec.config import Section, knob
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error
from genrec.pipeline import COMPARE, call_of, command_of
from genrec.run_choice import is_run, shorten

if TYPE_CHECKING:
    from genrec.evaluation.report import Report


PLACE = Path("outputs/comparison")
LONGEST = 200  # letters of a file's name


class ComparisonOptions(Section):
    """Evaluations of the same rows."""

    models: list[Path] = knob([], "results.json of models, or their directories; also the words before the first flag")
    baseline: Path | None = knob(None, "the first of two, in place of `models`")
    optimized: Path | None = knob(None, "the one that should be better")
    output_dir: Path | None = knob(
        None, "where comparison.json, .txt and .png go; outputs/comparison/<one>_vs_<other> when empty"
    )
    seed: int = knob(42, "of resampling", ge=0)


def main(argv: list[str] | None = None) -> None:
    options = parse(options_program(call_of(*COMPARE), __doc__, ComparisonOptions, words="models"), argv).config
    with exit_on_usage_error():
        paths = choose_models(options)
    place = options.output_dir or name_place(paths)
    with exit_on_failure(place):
        compare = write_comparison if len(paths) == 2 else write_table
        print(compare(*paths, output_dir=place, seed=options.seed))


def name_place(paths: list[Path]) -> Path:
    """A directory of its own for each choice of models, so that none is written over by the next."""
    names = [".".join(own_parts(path)) for path in paths]
    return PLACE / "_vs_".join(names)[:LONGEST]


def own_parts(path: Path) -> list[str]:
    """Of .../outputs/quickstart/evaluation/sft/results.json what tells it from others: quickstart, sft."""
    directory = path.parent if path.name == RESULTS else path
    parts = Path(os.path.relpath(directory)).parts
    return [part for part in parts if part not in ("outputs", "evaluation", "..", ".")] or [directory.resolve().name]


def choose_models(options: ComparisonOptions) -> list[Path]:
    pair = [path for path in (options.baseline, options.optimized) if path]
    if pair and options.models:
        raise ConfigError(f"name the models once: --baseline and --optimized, or {' '.join(map(str, options.models))}")
    paths = options.models or pair
    if len(paths) < 2:
        named = f"; found {paths[0]}" if paths else ""
        raise ConfigError(f"it takes two models: --baseline A --optimized B, or A B C{named}")
    for path in paths:
        if is_run(path):
            rows = [each.parent.name for each in sorted(path.glob(f"evaluation/*/{RESULTS}"))]
            there = ", ".join(rows) or f"none yet, {command_of('evaluation')} makes them"
            example = f"{path}/evaluation/{rows[-1] if rows else 'MODEL'}"
            raise ConfigError(f"{path} is a run; name a row of its table, as {example}; it has {there}")
    return paths


def write_table(*paths: Path, output_dir: Path, seed: int) -> str:
    """Each further model against the first, in one table."""
    from genrec.evaluation.comparison import compare_reports, comparison_to_json, describe_against_first

    directories = [require_model(path) for path in paths]
    reports = [read_scores(directory) for directory in directories]
    first, name = reports[0], str(directories[0])
    comparisons = [
        compare_reports(first, report, (name, str(directory)), seed)
        for directory, report in zip(directories[1:], reports[1:], strict=True)
    ]
    text = describe_against_first(comparisons)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_text(output_dir / "comparison.txt", text)
    write_json(output_dir / "comparison.json", [comparison_to_json(each) for each in comparisons])
    return f"{text}\nwritten: {output_dir}/comparison.json .txt"


def require_model(path: Path) -> Path:
    """The directory of a model's results, its files as its manifest lists them."""
    directory = find_model_directory(path)
    if read_manifest(directory):
        require(directory, command_of("evaluation"))
    return directory


def read_scores(directory: Path) -> Report:
    from genrec.evaluation.report import read_report

    return read_report(directory)


def write_comparison(baseline: Path, optimized: Path, output_dir: Path, seed: int) -> str:
    """Compare, write, and return the text for the screen."""
    from genrec.evaluation.comparison import compare_reports, comparison_to_json, describe_comparison
    from genrec.evaluation.plots import plot_comparison

    directories = require_model(baseline), require_model(optimized)
    reports = [read_scores(directory) for directory in directories]
    comparison = compare_reports(*reports, names=tuple(map(str, directories)), seed=seed)
    text = describe_comparison(comparison)
    output_dir.mkdir(parents=True, exist_ok=True)
    plot_comparison(comparison, output_dir / "comparison.png")
    write_text(output_dir / "comparison.txt", text)
    write_json(output_dir / "comparison.json", comparison_to_json(comparison))  # last: who finds it has all three
    return f"{text}\nwritten: {output_dir}/comparison.json .txt .png"


def find_model_directory(path: Path) -> Path:
    """The directory of one model's results, from the path of either or a link to it; a whole evaluation's one model."""
    path = shorten(path.resolve()) if path.is_symlink() else path
    directory = path.parent if path.name == RESULTS else path
    models = list_models(directory)
    if len(models) == 1:
        return directory / models[0]
    if models:
        raise ArtifactError(
            f"{path} holds {len(models)} models; name one: {', '.join(str(directory / m) for m in models)}"
        )
    return directory


def list_models(directory: Path) -> list[str]:
    """The models of a whole evaluation's results.json; none when it is the file of one model, or not there."""
    path = directory / RESULTS
    content = read_json(path) if path.exists() else {}
    return list(content.get("models", {})) if isinstance(content, dict) else []
