"""The leaderboard of docs/results: rows of finished runs, kept as JSON lines, and the page that is made of them.

    python benchmarks/leaderboard.py add outputs/quickstart --command "genrec run --config quickstart --yes"
    python benchmarks/leaderboard.py render      # docs/results/leaderboard.md from leaderboard.jsonl

`add` takes the test rows of a run as its artifacts say them: data set, protocol, model, parameters, hours of its
training by the clock, HR@10 and NDCG@10 with intervals, commit. One of the same data, protocol, model, seed and command
replaces the one that is there. Nothing is typed by hand but the command, so a row without a run cannot be added.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.artifacts import MANIFEST, read_manifest, write_text
from genrec.errors import ArtifactError, exit_on_failure
from genrec.evaluation.report import read_results
from genrec.evaluation.runs import read_run
from genrec.models.loading import count_weights
from genrec.pipeline import FAMILY_READS

PLACE = Path(__file__).resolve().parents[1] / "docs" / "results"
ENTRIES, PAGE = "leaderboard.jsonl", "leaderboard.md"
KEY = ("dataset", "protocol", "model", "seed", "command")
METRICS = ("hr@10", "ndcg@10")
TRAINED = ("sequential", "sft", "rl")  # stages whose seconds count for a model that reads them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, default=PLACE, help="where the two files are")
    orders = parser.add_subparsers(dest="order", required=True)
    adding = orders.add_parser("add", help="the test rows of a run, then render")
    adding.add_argument("run", type=Path)
    adding.add_argument("--command", required=True, help="what was typed to make it")
    orders.add_parser("render", help="the page from the entries")
    options = parser.parse_args()
    with exit_on_failure(options.place):
        entries = read_entries(options.place)
        if options.order == "add":
            entries = join_entries(entries, read_rows(options.run, options.command))
            text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
            write_text(options.place / ENTRIES, f"{text}\n")
        write_text(options.place / PAGE, render(entries))
        print(f"{len(entries)} rows: {options.place / PAGE}")


def read_entries(place: Path) -> list[dict[str, Any]]:
    path = place / ENTRIES
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def join_entries(there: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = {tuple(entry[name] for name in KEY): entry for entry in [*there, *new]}
    return sorted(kept.values(), key=lambda entry: (entry["dataset"], entry["protocol"], -entry["ndcg@10"]["mean"]))


def read_rows(run: Path, command: str) -> list[dict[str, Any]]:
    places = [path.parent for path in sorted((run / "evaluation").glob(f"*/{MANIFEST}"))]
    rows = [entry for place in places if (entry := read_row(run, place, command))]
    if not rows:
        raise ArtifactError(f"{run} has no test rows scored at 10; run: genrec evaluate --run.dir {run}")
    return rows


def read_row(run: Path, place: Path, command: str) -> dict[str, Any] | None:
    results, manifest = read_results(place), read_manifest(place)
    assert manifest
    if results["rows"]["split"] != "test" or not set(METRICS) <= results["metrics"].keys():
        return None
    made = read_run(run)
    used = [stage for stage in TRAINED if stage in manifest.inputs]
    seconds = sum(found.seconds for stage in used if (found := read_manifest(run / stage)))
    return {
        "dataset": made.dataset,
        "protocol": describe_protocol(made.config, results),
        "model": place.name,
        "parameters": count_parameters(run, manifest.config["family"]),
        "hours": round(seconds / 3600, 3),
        **{name: results["metrics"][name] for name in METRICS},
        "seed": made.config.get("run.seed", manifest.config.get("run.seed")),
        "commit": manifest.git_commit,
        "command": command,
    }


def describe_protocol(config: dict[str, Any], results: dict[str, Any]) -> str:
    rows, seen = results["rows"], "left out" if results["lists"]["filter_seen"] else "kept"
    some = "" if rows["rows"] == rows["rows_of_split"] else f" of {rows['rows_of_split']:,}"
    split = str(config.get("data.split", "?")).replace("_", " ")
    return f"{split}, {rows['rows']:,}{some} rows, {rows['items']:,} items ranked, seen items {seen}"


def count_parameters(run: Path, family: str) -> int:
    """Of the weights of the model itself; 0 where it has none."""
    places = {"sft": run / "sft", "rl": run / "rl"} | {
        name: run / "sequential" / name for name in sequential_models(run)
    }
    return count_weights(places[family]) if family in places else 0


def sequential_models(run: Path) -> list[str]:
    names = [name for name, reads in FAMILY_READS.items() if "sequential" in reads]
    return [name for name in names if (run / "sequential" / name).is_dir()]


def render(entries: list[dict[str, Any]]) -> str:
    lines = [
        "# Leaderboard",
        "",
        f"Made by `python benchmarks/leaderboard.py render` from [{ENTRIES}]({ENTRIES}): what the artifacts",
        "of runs say, one run a row. Hours are of the training, by the clock of a machine of two cores that often did",
        "other work too. Tables of several seeds, and what was tried: [results](index.md).",
    ]
    groups = dict.fromkeys((entry["dataset"], entry["protocol"]) for entry in entries)
    for dataset, protocol in groups:
        lines += [
            "",
            f"## {dataset}: {protocol}",
            "",
            "| model | parameters | hours | HR@10 | NDCG@10 [95%] | seed | commit | command |",
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        own = [entry for entry in entries if (entry["dataset"], entry["protocol"]) == (dataset, protocol)]
        lines += [render_row(entry) for entry in own]
    return "\n".join(lines) + "\n"


def render_row(entry: dict[str, Any]) -> str:
    ndcg, size = entry["ndcg@10"], entry["parameters"]
    bounds = "" if ndcg["low"] is None else f" [{ndcg['low']:.4f}, {ndcg['high']:.4f}]"
    cells = [
        entry["model"],
        f"{size / 1e6:.2f} M" if size else "-",
        f"{entry['hours']:.2f}" if size else "-",
        f"{entry['hr@10']['mean']:.4f}",
        f"{ndcg['mean']:.4f}{bounds}",
        str(entry["seed"]),
        f"`{entry['commit'][:7]}`" if entry["commit"] else "-",
        f"`{entry['command']}`",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
