"""Did it help? Two evaluations of the same rows, compared user by user.

Reads   results.json and per_example.npz of two models
Writes  <output_dir>/comparison.json, comparison.txt, comparison.png

    python compare_results.py --baseline a/evaluation/sft/results.json --optimized b/evaluation/sft/results.json
    python compare_results.py --baseline a/evaluation/sasrec --optimized a/evaluation/sft --output_dir out
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from genrec.artifacts import RESULTS, ArtifactError, write_json, write_text
from genrec.stage import fail


def main() -> None:
    options = parse_options()
    try:
        print(run(options.baseline, options.optimized, options.output_dir, options.seed))
    except ArtifactError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {options.output_dir}: {error.strerror}; choose another --output_dir")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, help="a model's results.json, or its directory")
    parser.add_argument("--optimized", type=Path, required=True, help="the same of the model that should be better")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("outputs/comparison"), help="default outputs/comparison"
    )
    parser.add_argument("--seed", type=int, default=42, help="of resampling (default 42)")
    return parser.parse_args()


def run(baseline: Path, optimized: Path, output_dir: Path, seed: int) -> str:
    """Compare, write, and return the text for the screen."""
    from genrec.evaluation.comparison import as_json, compare, show
    from genrec.evaluation.plots import plot_comparison
    from genrec.evaluation.report import read_report

    directories = model_directory(baseline), model_directory(optimized)
    reports = [read_report(directory) for directory in directories]
    comparison = compare(*reports, names=tuple(map(str, directories)), seed=seed)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / "comparison.json", as_json(comparison))
    write_text(output_dir / "comparison.txt", show(comparison))
    plot_comparison(comparison, output_dir / "comparison.png")
    return f"{show(comparison)}\nwritten: {output_dir}/comparison.json .txt .png"


def model_directory(path: Path) -> Path:
    """The directory of one model's results, from the path of either; the one model of a whole evaluation."""
    directory = path.parent if path.name == RESULTS else path
    models = models_in(directory)
    if len(models) == 1:
        return directory / models[0]
    if models:
        raise ArtifactError(
            f"{path} holds {len(models)} models; name one: {', '.join(str(directory / m) for m in models)}"
        )
    return directory


def models_in(directory: Path) -> list[str]:
    """The models of a whole evaluation's results.json; none when it is the file of one model, or not there."""
    try:
        return list(json.loads((directory / RESULTS).read_text(encoding="utf-8")).get("models", {}))
    except (OSError, json.JSONDecodeError, AttributeError):
        return []  # read_report says what is wrong


if __name__ == "__main__":
    main()
