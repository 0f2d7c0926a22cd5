"""Why a model missed: every bad case with its causes, each cause held against the hits, and a page to read.

Reads   data/, evaluation/<row>/ (any row of the table, scored now where it is not there), sids/ where the run has it
Writes  analysis/<model>/{eval_results.jsonl, badcase_report.json, report.html}
        analysis/<model>/visualizations/{failure_patterns,failure_rate,sid_quality,rank_distribution}.png
        analysis/<model>/visualizations/summary_report.txt

    genrec analyze --config quickstart
    genrec analyze --config quickstart --model sasrec --top_k 10
    genrec analyze --model path/to/model --category Industrial_and_Scientific --top_k 10
    genrec analyze --model other_run/evaluation/sft --category Industrial_and_Scientific
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import stage
from genrec.artifacts import (
    BADCASE_PAGE,
    BADCASE_REPORT,
    EVAL_RESULTS,
    SUMMARY_REPORT,
    VISUALIZATIONS,
    read_manifest,
    write_json,
    write_json_lines,
    write_text,
)
from genrec.commandline import parse, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.pipeline import ADVISE, FAMILY_READS, artifact_dir, call_of, command_of
from genrec.runtime.training_record import is_trained, read_record
from genrec.store import RunStore

if TYPE_CHECKING:
    from genrec.diagnosis.badcase_report import CaseReader


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The report first; the page and the plots are drawn from it."""
    from genrec.advice.strategies import list_remedies
    from genrec.diagnosis.badcase_page import render_page
    from genrec.diagnosis.badcase_text import describe_report, make_headline
    from genrec.diagnosis.plots import BADCASE_PLOTS

    report, reader = diagnose_run(config)
    plots = {name: partial / VISUALIZATIONS / f"{name}.png" for name in BADCASE_PLOTS}
    (partial / VISUALIZATIONS).mkdir(exist_ok=True)
    for name, plot in BADCASE_PLOTS.items():
        plot(report, plots[name])
    summary = describe_report(report)
    write_text(partial / VISUALIZATIONS / SUMMARY_REPORT, summary)
    write_text(partial / BADCASE_PAGE, render_page(report, plots, list_remedies(report), call_of(*ADVISE)))
    write_json_lines(partial / EVAL_RESULTS, reader.lines())
    write_json(partial / BADCASE_REPORT, report)
    final = artifact_dir(config, "analysis")
    print(f"\n{summary}\nTo read: {final / BADCASE_PAGE}")
    print(f"Next: {call_of(*ADVISE)} --badcase_report {final / BADCASE_REPORT} --auto_recommend\n")
    return {"summary": report["summary"], "headline": make_headline(report)}


def diagnose_run(config: Config) -> tuple[dict[str, Any], CaseReader]:
    """The content of badcase_report.json, and what makes a line of each row."""
    from genrec.diagnosis.badcase_inputs import exact_dir, read_cases, require_predictions
    from genrec.diagnosis.badcase_report import CaseReader, CaseSampling, make_badcase_report, summarize_sid_quality
    from genrec.diagnosis.lift import diagnose_cases
    from genrec.evaluation.report import make_slices, read_results

    store, knobs = RunStore.of(config), config.analysis
    data, codes = store.prepared(), store.codes() if store.has("sids") else None
    directory = require_predictions(artifact_dir(config, "evaluation"), knobs.model)
    results = read_results(directory)
    cases = read_cases(directory, results, data, codes, knobs, exact_dir(directory, knobs.exact))
    reader = CaseReader(cases, diagnose_cases(cases, config.run.seed), data.catalog, data.sequences)
    slices = make_slices(cases.examples, data.catalog, data.train_count)
    report = {
        "model": results["model"],
        "split": results["rows"]["split"],
        "test_set": results["rows"]["fingerprint"],
        **make_badcase_report(reader, slices, CaseSampling(config.run.seed, knobs.examples, knobs.sample)),
        "sid_quality": summarize_sid_quality(store.sid_quality()),
        "training": read_training(config, results["model"]),
        "config": config.model_dump(mode="json"),
    }
    return report, reader


def read_training(config: Config, model: str) -> dict[str, Any] | None:
    """When the run's own training of this model was best, None for a model that was not trained in this run."""
    stages = [name for name in FAMILY_READS[model] if name not in ("embeddings", "sids")]
    if not stages or config.analysis.model != model or config.evaluation.base_model:
        return None
    directory = artifact_dir(config, stages[-1])
    trained = directory / model if stages[-1] == "sequential" else directory
    if read_manifest(directory):
        stage.require(config, stages[-1])
    return {"best_at": round(read_record(trained).best_share, 4)} if is_trained(trained) else None


def sources(config: Config) -> dict[str, str]:
    """What is read beside data/, as far as it exists: the predictions, the exact ranking, the semantic IDs."""
    from genrec.diagnosis.badcase_inputs import fingerprint_inputs

    fingerprints = fingerprint_inputs(artifact_dir(config, "evaluation"), config.analysis)
    sids = read_manifest(artifact_dir(config, "sids"))
    return fingerprints | ({"sids": sids.fingerprint} if sids else {})


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of("analysis"), __doc__, "analysis"), argv)
    with exit_on_failure(command.config.run.dir):
        config = command.config if command.dry_run else score_model(command.config)
        stage.run("analysis", command._replace(config=config), build, sources)


def score_model(config: Config) -> Config:
    """The same, with `analysis.model` a row of the evaluation; what is not there yet is scored now."""
    from genrec.models.families import FAMILIES
    from genrec.stages.evaluate import ensure_row

    model, settings = config.analysis.model, config.evaluation
    if (Path(model) / "config.json").exists():  # a model's directory
        settings, model = settings.model_copy(update={"base_model": Path(model)}), "sft"
    if model not in FAMILIES:
        return config
    row = ensure_row(config.model_copy(update={"evaluation": settings}), model)
    return config.model_copy(update={"analysis": config.analysis.model_copy(update={"model": row.name})})
