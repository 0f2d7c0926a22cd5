"""Why a model missed: every bad case with its causes, each cause held against the hits, and a page to read.

Reads   data/, evaluation/<row>/ (any row of the table, scored now where it is not there), sids/ where the run has it
Writes  analysis/<model>/{eval_results.jsonl, badcase_report.json, report.html}
        analysis/<model>/visualizations/{learning_curves,failure_patterns,failure_rate,sid_quality,rank_distribution}.png
        analysis/<model>/visualizations/summary_report.txt

    genrec analyze --config quickstart
    genrec analyze --config quickstart --model sasrec --top_k 10
    genrec analyze --model path/to/model --category Industrial_and_Scientific --top_k 10
    genrec analyze --model other_run/evaluation/sft --category Industrial_and_Scientific
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec import stage
from genrec.artifacts import (
    BADCASE_PAGE,
    BADCASE_REPORT,
    EVAL_RESULTS,
    RECOMMENDATIONS,
    REPORT,
    RESULTS,
    SUMMARY_REPORT,
    VISUALIZATIONS,
    read_json,
    read_manifest,
    sha256,
    write_json,
    write_json_lines,
    write_text,
)
from genrec.commandline import parse, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.pipeline import ADVISE, FAMILY_READS, TEACHER_READS, artifact_dir, call_of, command_of, on_split
from genrec.plugins import is_plugin
from genrec.remote import fetch_artifacts, fetch_stages
from genrec.runtime.training_record import is_trained, is_unchanged, read_record
from genrec.store import RunStore

if TYPE_CHECKING:
    from genrec.data.prepared import Prepared
    from genrec.diagnosis.badcase_report import CaseReader

BASELINES = ("popular", "last_item", "item_knn")  # what a trained model is held against; none needs training
METRICS = ("hr@10", "ndcg@10")


def build(config: Config, partial: Path) -> dict[str, Any]:
    """The report first; the page and the plots are drawn from it."""
    from genrec.advice.report import take_valid
    from genrec.advice.strategies import list_remedies
    from genrec.diagnosis.badcase_page import render_page
    from genrec.diagnosis.badcase_text import describe_report, make_headline
    from genrec.diagnosis.plots import BADCASE_PLOTS

    fetch_evidence(config)
    report, reader = diagnose_run(config)
    plots = {name: partial / VISUALIZATIONS / f"{name}.png" for name in BADCASE_PLOTS}
    (partial / VISUALIZATIONS).mkdir(exist_ok=True)
    for name, plot in BADCASE_PLOTS.items():
        plot(report, plots[name])
    summary = describe_report(report)
    write_text(partial / VISUALIZATIONS / SUMMARY_REPORT, summary)
    remedies = [] if "not_measured" in report["valid"] else list_remedies(take_valid(report))
    final = artifact_dir(config, "analysis")
    advise = f"{call_of(*ADVISE)} --badcase_report {final / BADCASE_REPORT} --auto_recommend"
    write_text(partial / BADCASE_PAGE, render_page(report, plots, remedies, advise))
    write_json_lines(partial / EVAL_RESULTS, reader.lines())
    write_json(partial / BADCASE_REPORT, report)
    print(f"\n{summary}\nTo read: {final / BADCASE_PAGE}")
    print(f"Next: {advise}\n")
    return {"summary": report["summary"], "headline": make_headline(report)}


def fetch_evidence(config: Config) -> None:
    """With run.remote: what the report rests on, as far as it is there."""
    fetch_stages(config, dict.fromkeys(("sids", "sequential", *FAMILY_READS[config.analysis.model])))
    fetch_artifacts(config, ["evaluation/*", "evaluation_valid/*"])


def diagnose_run(config: Config) -> tuple[dict[str, Any], CaseReader]:
    """The content of badcase_report.json, and what makes a line of each row.

    The rows of evaluation.split stand at its top; those of valid, on which advice rests, under `valid`.
    """
    from genrec.diagnosis.badcase_inputs import require_predictions
    from genrec.diagnosis.badcase_report import CaseSampling, make_badcase_report, summarize_sid_quality
    from genrec.evaluation.report import make_slices

    store, knobs = RunStore.of(config), config.analysis
    data, codes = store.prepared(), store.codes() if store.has("sids") else None
    directory = require_predictions(artifact_dir(config, "evaluation"), knobs.model)
    results, reader = read_cases_of(config, directory, data, codes)
    slices = make_slices(reader.cases.examples, data.catalog, data.train_count)
    valid, own, model = find_valid_row(config, results, directory), is_own(config, directory), results["model"]
    report = {
        "model": model,
        "split": results["rows"]["split"],
        "test_set": results["rows"]["fingerprint"],
        "metrics": pick_metrics(results),
        **make_badcase_report(reader, slices, CaseSampling(config.run.seed, knobs.examples, knobs.sample)),
        "valid": measure_valid(config, valid, data, codes),
        "baselines": measure_baselines(config, valid, own),
        "history": probe_history(data, config.run.seed),
        "prompts": probe_prompts(config, model, data) if own else None,
        "ties": read_ties(store),
        "sid_quality": summarize_sid_quality(store.sid_quality()),
        "rl_kept": was_rl_kept(config, model) if own else None,
        "training": read_training(config, model) if own else None,
        "config": config.model_dump(mode="json"),
    }
    return report, reader


def read_cases_of(
    config: Config, directory: Path, data: Prepared, codes: np.ndarray | None
) -> tuple[dict[str, Any], CaseReader]:
    """results.json of one model's rows, and the rows with their causes."""
    from genrec.diagnosis.badcase_inputs import exact_dir, read_cases
    from genrec.diagnosis.badcase_report import CaseReader
    from genrec.diagnosis.lift import diagnose_cases
    from genrec.evaluation.report import read_results

    results, knobs = read_results(directory), config.analysis
    cases = read_cases(directory, results, data, codes, knobs, exact_dir(directory, knobs.exact))
    return results, CaseReader(cases, diagnose_cases(cases, config.run.seed), data.catalog, data.sequences)


def is_own(config: Config, directory: Path) -> bool:
    """Whether the lists are those of a model that this run trained, or that needs no training."""
    manifest = read_manifest(directory)
    inside = directory.parent == artifact_dir(config, "evaluation")
    return inside and manifest is not None and "base_model" not in manifest.inputs


def find_valid_row(config: Config, results: dict[str, Any], directory: Path) -> Path | None:
    """Where the same model's valid rows lie, scored now if they can be; None of a directory that has none beside it."""
    if results["rows"]["split"] == "valid":
        return directory
    if directory.parent == artifact_dir(config, "evaluation"):
        return ensure_valid_rows(config, results["model"]) if has_valid_rows(config) else None
    beside = directory.parent.with_name(f"{directory.parent.name}_valid") / directory.name
    return beside if (beside / RESULTS).exists() else None


def has_valid_rows(config: Config) -> bool:
    return len(RunStore.of(config).splits()["valid"]) > 0


def ensure_valid_rows(config: Config, model: str) -> Path:
    """The model's row on valid, and that of its exact ranking where the other split has one."""
    from genrec.stages.evaluate import ensure_row

    if (artifact_dir(config, "evaluation") / f"{model}_exact" / RESULTS).exists():
        ensure_row(on_split(config, "valid"), f"{model}_exact")
    return ensure_row(on_split(config, "valid"), model)


def measure_valid(config: Config, directory: Path | None, data: Prepared, codes: np.ndarray | None) -> dict[str, Any]:
    """What is measured of the rows of evaluation.split, of valid's."""
    from genrec.diagnosis.badcase_report import measure_cases
    from genrec.diagnosis.seen_items import measure_seen_items
    from genrec.evaluation.report import make_slices

    if directory is None:
        return {"not_measured": f"no valid rows of {config.analysis.model} are there"}
    if config.evaluation.split != "valid":  # an exact ranking that is given is of the other split
        config = config.model_copy(update={"analysis": config.analysis.model_copy(update={"exact": None})})
    results, reader = read_cases_of(config, directory, data, codes)
    slices, seed = make_slices(reader.cases.examples, data.catalog, data.train_count), config.run.seed
    filtered = bool(results["lists"]["filter_seen"])
    return {
        "split": "valid",
        "test_set": results["rows"]["fingerprint"],
        "lists": results["lists"],
        "metrics": pick_metrics(results),
        **measure_cases(reader.cases, reader.findings, slices, seed),
        "seen_items": measure_seen_items(reader.cases, filtered, seed),
    }


def measure_baselines(config: Config, model_row: Path | None, own: bool) -> dict[str, dict[str, Any]]:
    """{split: {baseline: metrics, and on valid how far the model is ahead of it}}: valid is scored, test read."""
    from genrec.evaluation.report import read_results

    if model_row is None or not own:
        return {"valid": {}, "test": {}}
    test = artifact_dir(on_split(config, "test"), "evaluation")
    names = (*BASELINES, *(name for name in list_sequential(config) if name != model_row.name))
    return {
        "valid": {name: compare_with_baseline(config, model_row, name) for name in names},
        "test": {name: pick_metrics(read_results(test / name)) for name in names if (test / name / RESULTS).exists()},
    }


def list_sequential(config: Config) -> list[str]:
    """The run's sequential models that can teach a language model: sasrec_bce gives no probabilities."""
    store = RunStore.of(config)
    ready = [name for name in TEACHER_READS if all(map(store.has, FAMILY_READS[name]))]
    if not ready or store.manifest("sequential").inputs.get("data") != store.manifest("data").fingerprint:
        return []
    return [name for name in ready if store.sequential_model(name).is_dir()]


def compare_with_baseline(config: Config, model_row: Path, name: str) -> dict[str, Any]:
    """A baseline's metrics on valid, and how far the analysed model is ahead of it."""
    from genrec.evaluation.comparison import check_same_rows, measure_differences, shared_cutoff
    from genrec.evaluation.report import estimate_to_json, read_report, read_results
    from genrec.stages.evaluate import ensure_row

    directory = ensure_row(on_split(config, "valid"), name)
    baseline, model = read_report(directory), read_report(model_row)
    check_same_rows(baseline, model, (str(directory), str(model_row)))
    everywhere = np.ones(len(model.user), dtype=bool)
    metric = f"ndcg@{shared_cutoff(baseline, model)}"
    (ahead,) = measure_differences(baseline, model, (metric,), everywhere, config.run.seed)
    return pick_metrics(read_results(directory)) | {"ahead": estimate_to_json(ahead.difference)}


def pick_metrics(results: dict[str, Any]) -> dict[str, Any]:
    return {name: results["metrics"][name] for name in METRICS if name in results["metrics"]}


def probe_history(data: Prepared, seed: int) -> dict[str, Any] | None:
    """Whether longer histories hold more, as far as item-kNN can tell; None without valid rows."""
    from genrec.models.probes import probe_history

    return probe_history(data, "valid", seed) if len(data.splits["valid"]) else None


def probe_prompts(config: Config, model: str, data: Prepared) -> dict[str, Any] | None:
    """How many valid prompts are cut; None of a model that reads none."""
    from genrec.models.probes import measure_prompts

    stages = FAMILY_READS[model]
    if stages[-1:] not in (("sft",), ("rl",)) or not len(data.splits["valid"]):
        return None
    return measure_prompts(artifact_dir(config, stages[-1]), data, data.examples("valid"))


def read_ties(store: RunStore) -> dict[str, Any] | None:
    """What the data artifact says of events of one time; None of one made before that was measured."""
    path = store.path("data") / REPORT
    return read_json(path).get("time_ties") if path.exists() else None


def was_rl_kept(config: Config, model: str) -> bool | None:
    """False where the model after RL is the SFT model, None of a model without RL."""
    return not is_unchanged(artifact_dir(config, "rl")) if "rl" in FAMILY_READS[model] else None


def read_training(config: Config, model: str) -> dict[str, Any] | None:
    """How the training of this model went, None of one that is not trained.

    Where RL left the SFT model as it was, that of the SFT model, with RL's own under `rejected_rl`.
    """
    stages = [name for name in FAMILY_READS[model] if name not in ("embeddings", "sids")]
    if not stages:
        return None
    if was_rl_kept(config, model) is False and not config.rl.model_path:
        sft, rl = (describe_training(config, name, name) for name in ("sft", "rl"))
        return None if sft is None else sft | {"rejected_rl": rl}
    return describe_training(config, stages[-1], model)


def describe_training(config: Config, stage_name: str, model: str) -> dict[str, Any] | None:
    """The whole record of one training, best_at between 0 (its beginning) and 1 (its end)."""
    directory = artifact_dir(config, stage_name)
    trained = directory / model if stage_name == "sequential" else directory
    if read_manifest(directory):
        stage.require(config, stage_name)
    if not is_trained(trained):
        return None
    record = read_record(trained)
    content = {name: getattr(record, name) for name in ("unit", "length", "best", "metric", "score", "curve", "losses")}
    return {"stage": stage_name, "best_at": round(record.best_share, 4)} | content


def sources(config: Config) -> dict[str, str]:
    """What is read beside data/, as far as it exists: the predictions of both splits, the exact ranking, the SIDs."""
    from genrec.diagnosis.badcase_inputs import fingerprint_inputs

    fingerprints = fingerprint_inputs(artifact_dir(config, "evaluation"), config.analysis)
    sids = read_manifest(artifact_dir(config, "sids"))
    valid = artifact_dir(on_split(config, "valid"), "evaluation") / Path(config.analysis.model).name / RECOMMENDATIONS
    if valid.exists():
        fingerprints["valid_predictions"] = sha256(valid)[:16]
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
    if model not in FAMILIES and not is_plugin(model):
        return config
    row = ensure_row(config.model_copy(update={"evaluation": settings}), model)
    return config.model_copy(update={"analysis": config.analysis.model_copy(update={"model": row.name})})
