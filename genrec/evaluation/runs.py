"""Several runs side by side: what each was made of, what it scored, and what tells it from the others.

S seeds
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.evaluation.report import format_bounds, read_results
from genrec.pipeline import FAMILY_READS, command_of
from genrec.tables import render_table

ABSENT = "-"
MODELS = ("sft", "rl")  # stages that read one kind of semantic IDs
RAW = "content of the raw files"  # beside knobs: a hash of all that the data were made from
TRAINED = ("rl", "sft", "sasrec_text", "sasrec", "sasrec_bce")  # whose row stands for a run, the first that it has


@dataclass(frozen=True)
class RunSummary:
    """A run directory, as far as its artifacts tell."""

    directory: Path
    config: dict[str, Any]  # every knob that an artifact of it depends on
    rows: dict[str, dict[str, Any]]  # results.json of each row of the test table, by the row's name

    @property
    def dataset(self) -> str:
        return str(self.config.get("data.dataset", "?"))


@dataclass(frozen=True)
class SeedMean:
    """A metric over S seeds."""

    mean: float
    deviation: float  # standard deviation between seeds; NaN of one
    low: float  # 95% interval of the mean by Student's t; NaN of one
    high: float
    seeds: int


def read_run(directory: Path) -> RunSummary:
    """What the manifests of a run say."""
    manifests = [read_manifest(path.parent) for path in sorted(directory.glob(f"*/{artifacts.MANIFEST}"))]
    manifests += [read_manifest(path.parent) for path in sorted(directory.glob(f"sids/*/{artifacts.MANIFEST}"))]
    manifests = [manifest for manifest in manifests if manifest]
    used = {value for manifest in manifests if manifest.stage in MODELS for value in manifest.inputs.values()}
    # of several semantic IDs those of the model count
    manifests.sort(key=lambda manifest: manifest.stage == "sids" and manifest.fingerprint in used)
    config = {key: value for manifest in manifests for key, value in manifest.config.items()}
    for manifest in manifests:
        if manifest.stage == "data" and manifest.inputs:
            config[RAW] = f"{zlib.crc32(json.dumps(manifest.inputs, sort_keys=True).encode()):08x}"
    rows = {
        path.parent.name: read_row(path.parent) for path in sorted(directory.glob(f"evaluation/*/{artifacts.MANIFEST}"))
    }
    return RunSummary(directory, config, rows)


def read_row(directory: Path) -> dict[str, Any]:
    artifacts.require(directory, command_of("evaluation"))
    return read_results(directory)


def choose_rows(run: RunSummary, models: Sequence[str]) -> list[str]:
    """The rows asked for that the run has; without any asked the one that stands for it."""
    if models:
        return [name for name in models if name in run.rows]
    trained = [name for name in TRAINED if name in run.rows]
    return trained[:1] or sorted(run.rows, key=lambda name: -mean_of(run.rows[name], "ndcg@10"))[:1]


def mean_of(results: dict[str, Any], metric: str) -> float:
    return results["metrics"].get(metric, {}).get("mean", math.nan)


def list_differences(runs: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """{knob: its value in each run} of the knobs of which two runs have different values; None where a run has none."""
    leaves = [dict(list_leaves(run.config)) for run in runs]
    keys = dict.fromkeys(key for leaf in leaves for key in leaf)
    values = {key: [leaf.get(key, lacks(run, key)) for run, leaf in zip(runs, leaves, strict=True)] for key in keys}
    return {key: each for key, each in values.items() if count_values(each) > 1}


def list_leaves(config: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names down to what is no mapping: sft.scratch.hidden_size, rl.reward_type.sasrec."""
    for key, value in config.items():
        if isinstance(value, dict):  # an empty one has no leaf: `lacks` says so
            yield from list_leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def lacks(run: RunSummary, leaf: str) -> str | None:
    """What stands for a leaf that a run has not; an artifact that was not made says nothing of it."""
    return ABSENT if ".".join(leaf.split(".")[:2]) in run.config else None


def count_values(values: list[Any]) -> int:
    """How many different ones there are, None aside."""
    return len({json.dumps(value, sort_keys=True) for value in values if value is not None})


def describe_runs(runs: Sequence[RunSummary], models: Sequence[str]) -> str:
    """A table of rows, then what differs between the runs."""
    rows = [["run", "data", "model", "HR@10", "NDCG@10  [95% interval]", "rows"]]
    for run in runs:
        names = choose_rows(run, models)
        rows += [make_cells(run, name) for name in names] or [[str(run.directory), run.dataset, "-", "-", "-", "-"]]
    return f"{render_table(rows)}\n{describe_differences(runs)}"


def make_cells(run: RunSummary, name: str, gap: str = "  ") -> list[str]:
    """Run, data, model, HR@10, NDCG@10 with `gap` before its interval, rows."""
    results = run.rows[name]
    hr, rows = mean_of(results, "hr@10"), f"{results['rows']['rows']:,}"
    scores = ["-" if math.isnan(hr) else f"{hr:.4f}", show_ndcg(results, gap)]
    return [str(run.directory), run.dataset, name, *scores, rows]


def show_ndcg(results: dict[str, Any], gap: str) -> str:
    """ "0.1234 [0.1111, 0.1333]", or "-" where the lists are too short."""
    ndcg = results["metrics"].get("ndcg@10")
    return f"{ndcg['mean']:.4f}{gap}{format_bounds(ndcg, '.4f')}" if ndcg else "-"


def describe_differences(runs: Sequence[RunSummary]) -> str:
    if len(runs) < 2:
        return ""
    rows = make_difference_rows(runs)
    if not rows:
        return "\nnothing differs in what these runs were made with\n"
    head = ["what differs", *(str(run.directory) for run in runs)]
    return f"\n{render_table([head, *rows], words=head)}\n"


def make_difference_rows(runs: Sequence[RunSummary]) -> list[list[str]]:
    """A knob and its value in each run, "-" where a run has none."""
    different = list_differences(runs)
    return [[key, *(ABSENT if each is None else str(each) for each in values)] for key, values in different.items()]


def average_seeds(values: Sequence[float]) -> SeedMean:
    """(S,) values of one metric -> mean +- t_{S-1} sd / sqrt(S); one seed has no interval."""
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return SeedMean(mean, math.nan, math.nan, math.nan, count)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return SeedMean(mean, deviation, mean - reach, mean + reach, count)


def describe_seeds(runs: dict[int, RunSummary]) -> str:
    """{seed: its run} -> one row a model: the mean over seeds with its interval, and each seed's own value."""
    names = [name for name in FAMILY_READS if all(name in run.rows for run in runs.values())]
    rows = [["model", "HR@10", "NDCG@10", "[95% over seeds]", *(f"seed {seed}" for seed in runs)]]
    for name in names:
        ndcg = [mean_of(run.rows[name], "ndcg@10") for run in runs.values()]
        hr, mean = average_seeds([mean_of(run.rows[name], "hr@10") for run in runs.values()]), average_seeds(ndcg)
        bounds = "-" if math.isnan(mean.low) else f"[{mean.low:.4f}, {mean.high:.4f}]"
        rows.append([name, f"{hr.mean:.4f}", f"{mean.mean:.4f}", bounds, *(f"{value:.4f}" for value in ndcg)])
    return f"{render_table(rows)}\nmeans over {len(runs)} seeds; Student's t; what draws nothing is the same in each\n"
