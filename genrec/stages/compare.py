"""Did it help? Two evaluations of the same rows, compared user by user.

Reads   results.json and per_example.npz of two models
Writes  <output_dir>/comparison.json, comparison.txt, comparison.png

    genrec compare --baseline a/evaluation/sft/results.json --optimized b/evaluation/sft/results.json
    genrec compare --baseline a/evaluation/sasrec --optimized a/evaluation/sft --output_dir out
"""

from __future__ import annotations

from pathlib import Path

from genrec.artifacts import RESULTS, read_json, read_manifest, require, write_json, write_text
from genrec.commandline import options_program, parse
from genrec.config import Section, knob
from genrec.errors import ArtifactError, exit_on_failure
from genrec.pipeline import COMPARE, call_of, command_of
from genrec.run_choice import shorten


class ComparisonOptions(Section):
    """Two evaluations of the same rows."""

    baseline: Path = knob(..., "a model's results.json, or its directory")
    optimized: Path = knob(..., "the same of the model that should be better")
    output_dir: Path = knob(Path("outputs/comparison"), "where comparison.json, .txt and .png go")
    seed: int = knob(42, "of resampling", ge=0)


def main(argv: list[str] | None = None) -> None:
    options = parse(options_program(call_of(*COMPARE), __doc__, ComparisonOptions), argv).config
    with exit_on_failure(options.output_dir):
        print(write_comparison(options.baseline, options.optimized, options.output_dir, options.seed))


def write_comparison(baseline: Path, optimized: Path, output_dir: Path, seed: int) -> str:
    """Compare, write, and return the text for the screen."""
    from genrec.evaluation.comparison import compare_reports, comparison_to_json, describe_comparison
    from genrec.evaluation.plots import plot_comparison
    from genrec.evaluation.report import read_report

    directories = find_model_directory(baseline), find_model_directory(optimized)
    for directory in directories:
        if read_manifest(directory):
            require(directory, command_of("evaluation"))
    reports = [read_report(directory) for directory in directories]
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
