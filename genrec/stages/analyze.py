"""Why a model missed: every bad case with its causes, each cause held against the hits, and a page to read.

Reads   data/, evaluation/<model>/ (any model of the table), sids/ where the run has it
Writes  analysis/<model>/{eval_results.jsonl, badcase_report.json, report.html}
        analysis/<model>/visualizations/{failure_patterns,failure_rate,sid_quality,rank_distribution}.png
        analysis/<model>/visualizations/summary_report.txt

    genrec analyze --config quickstart
    genrec analyze --config quickstart --model sasrec --top_k 10
    genrec analyze --model other_run/evaluation/sft --category Industrial_and_Scientific
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genrec import stage
from genrec.artifacts import (
    BADCASE_PAGE,
    BADCASE_REPORT,
    EVAL_RESULTS,
    RECOMMENDATIONS,
    RESULTS,
    SUMMARY_REPORT,
    VISUALIZATIONS,
    read_manifest,
    sha256,
    write_json,
    write_text,
)
from genrec.config import Config
from genrec.errors import ArtifactError
from genrec.pipeline import ADVISE, FAMILY_READS, artifact_dir, call_of, command_of
from genrec.runtime.training_record import is_trained, read_record
from genrec.store import RunStore


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The report first; the page and the plots are drawn from it."""
    from genrec.diagnosis.badcase_page import page
    from genrec.diagnosis.badcase_text import headline, show
    from genrec.diagnosis.plots import BADCASE_PLOTS

    report, shown = analyse(config)
    with (partial / EVAL_RESULTS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(shown.line(row), ensure_ascii=False) + "\n" for row in range(len(shown.cases)))
    write_json(partial / BADCASE_REPORT, report)
    plots = partial / VISUALIZATIONS
    plots.mkdir(exist_ok=True)
    for name, plot in BADCASE_PLOTS.items():
        plot(report, plots / f"{name}.png")
    write_text(plots / SUMMARY_REPORT, show(report))
    write_text(partial / BADCASE_PAGE, page(report, {name: plots / f"{name}.png" for name in BADCASE_PLOTS}))
    final = artifact_dir(config, "analysis")
    print(f"\n{show(report)}\nTo read: {final / BADCASE_PAGE}")
    print(f"Next: {call_of(*ADVISE)} --badcase_report {final / BADCASE_REPORT} --auto_recommend\n")
    return {"summary": report["summary"], "headline": headline(report)}


def analyse(config: Config) -> tuple[dict[str, Any], Any]:
    """The content of badcase_report.json, and what makes a line of a row."""
    from genrec.diagnosis.badcase_report import Sampling, Shown, make_report, sid_quality
    from genrec.diagnosis.lift import diagnose
    from genrec.evaluation.report import make_slices, read_results

    data, knobs, directory = RunStore.of(config).prepared(), config.analysis, require_predictions(config)
    results = read_results(directory)
    cases = read_cases(config, data, directory, results["rows"])
    shown = Shown(cases, diagnose(cases, config.run.seed), data.catalog, data.sequences)
    slices = make_slices(cases.examples, data.catalog, data.train_count)
    report = {
        "model": results["model"],
        "split": results["rows"]["split"],
        "test_set": results["rows"]["fingerprint"],
        **make_report(shown, slices, Sampling(config.run.seed, knobs.examples, knobs.sample)),
        "sid_quality": sid_quality(RunStore.of(config).sid_quality()),
        "training": read_training(config, results["model"]),
        "config": config.model_dump(mode="json"),
    }
    return report, shown


def read_cases(config: Config, data: Any, directory: Path, rows: dict[str, Any]) -> Any:
    """All rows of an evaluation (`rows` describes them) with what the run knows of their items."""
    from genrec.diagnosis.causes import Cases, Limits, category_numbers
    from genrec.evaluation.predictions import read_predictions
    from genrec.evaluation.report import in_tail

    examples, recommendations = read_predictions(directory)
    check_same_rows(rows, examples, data, directory)
    knobs = config.analysis
    return Cases(
        Limits(knobs.top_k, knobs.near_miss, knobs.short_history, knobs.recent_items),
        examples,
        recommendations,
        data.train_count,
        in_tail(data.train_count, knobs.tail_share),
        category_numbers(data.catalog),
        read_codes(config),
        read_exact(exact, examples) if (exact := exact_dir(config)) else None,
    )


def predictions_dir(config: Config) -> Path:
    """Where the model's ranked lists lie: a directory as given, or in this run's evaluation."""
    given = Path(config.analysis.model)
    return given if given.is_dir() else artifact_dir(config, "evaluation") / config.analysis.model


def require_predictions(config: Config) -> Path:
    """That directory, or an error with the command that makes it."""
    model, directory = config.analysis.model, predictions_dir(config)
    if (directory / "config.json").exists():
        raise ArtifactError(
            f"{directory} is a model, not its predictions; run first: {command_of('evaluation')} --models sft "
            f"--base_model {directory} (with your other flags), then {command_of('analysis')} --model sft"
        )
    if (directory / RECOMMENDATIONS).exists() and (directory / RESULTS).exists():
        return directory
    if (done := read_manifest(artifact_dir(config, "evaluation"))) is None:
        raise ArtifactError(
            f"{artifact_dir(config, 'evaluation')} is not there yet; run first: "
            f"{command_of('evaluation')} --models {model} (with your other flags)"
        )
    scored = ", ".join(done.config["evaluation.models"])
    raise ArtifactError(
        f"there are no predictions of '{model}' in {directory}; the evaluation has {scored}. Choose one of them, "
        f"or run: {command_of('evaluation')} --clean --models {scored.replace(' ', '')},{model} (with your other flags)"
    )


def check_same_rows(made: dict[str, Any], examples: Any, data: Any, directory: Path) -> None:
    """Every row of the predictions is a row of this run's split, over a catalogue of the same size."""
    split = data.examples(made["split"])
    there, here = (rows.user.astype(np.int64) * made["items"] + rows.target for rows in (examples, split))
    strange = int((~np.isin(there, here)).sum())
    if strange or made["items"] != len(data.catalog):
        raise ArtifactError(
            f"{directory} was scored on other data: {strange:,} of its {len(examples):,} rows are not in this run's "
            f"{made['split']} split, and it ranks {made['items']:,} items where this run has {len(data.catalog):,}; "
            "pass the --run.dir whose data it was scored on"
        )


def read_codes(config: Config) -> np.ndarray | None:
    """(N, L) codes, None in a run without semantic IDs."""
    store = RunStore.of(config)
    return store.codes() if store.has("sids") else None


def read_training(config: Config, model: str) -> dict[str, Any] | None:
    """When the run's own training of this model was best, None for a model that was not trained in this run."""
    stages = [name for name in FAMILY_READS[model] if name not in ("embeddings", "sids")]
    if not stages or Path(config.analysis.model).is_dir() or config.evaluation.base_model:
        return None
    directory = artifact_dir(config, stages[-1])
    trained = directory / model if stages[-1] == "sequential" else directory
    return {"best_at": round(read_record(trained).best_share, 4)} if is_trained(trained) else None


def exact_dir(config: Config) -> Path | None:
    """Where the same rows are ranked without a beam: as given, or the model's exact twin in the same evaluation."""
    if given := config.analysis.exact:
        return given.parent if given.name == RECOMMENDATIONS else given
    beside = predictions_dir(config)
    twin = beside.with_name(beside.name + "_exact")
    return twin if (twin / RECOMMENDATIONS).exists() else None


def read_exact(path: Path, examples: Any) -> Any:
    """The exact ranking of the same rows."""
    from genrec.evaluation.predictions import read_predictions

    rows, exact = read_predictions(path)
    if not (np.array_equal(rows.user, examples.user) and np.array_equal(rows.target, examples.target)):
        raise ArtifactError(
            f"analysis.exact {path} ranks {len(rows):,} other rows than the {len(examples):,} analysed; "
            "evaluate both with the same split, limit and seed"
        )
    return exact


def sources(config: Config) -> dict[str, str]:
    """What is read beside data/, as far as it exists: the predictions, the exact ranking, the semantic IDs."""
    if artifact_dir(config, "evaluation").exists() or predictions_dir(config).exists():
        require_predictions(config)
    files = {"predictions": predictions_dir(config) / RECOMMENDATIONS}
    if exact := exact_dir(config):
        files["exact"] = exact / RECOMMENDATIONS
    found = {name: sha256(path)[:16] for name, path in files.items() if path.exists()}
    sids = read_manifest(artifact_dir(config, "sids"))
    return found | ({"sids": sids.fingerprint} if sids else {})


def main(argv: list[str] | None = None) -> None:
    stage.main("analysis", __doc__, build, sources, argv)
