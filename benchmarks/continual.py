"""Is going on with new events as good as training anew, and what does it cost? A shop in time slices.

python benchmarks/continual.py --events events.csv --items items.csv --preset tiny --work DIR
python benchmarks/continual.py --toy --preset tiny --slices 2 --work DIR -- --sft.num_epochs 4

The first share of the events, by time, makes a run; `genrec update` takes each further slice on from the run before.
Each slice is a line a set of test rows: the run as it was, updated, and trained anew on all rows so far; paired
differences of NDCG@10, and CPU seconds of the commands (new vectors and the comparison included). Flags after -- go to
the first run. A killed benchmark goes on when the same command is given again; CPU seconds are then of the rest.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from genrec.evaluation.report import Estimate

NO_WINDOW = [f"--data.{end}_{unit} null" for end in ("st", "ed") for unit in ("year", "month")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, help="a table of user_id, item_id, timestamp")
    parser.add_argument("--items", type=Path, help="a table of items, those of later slices among them")
    parser.add_argument("--toy", action="store_true", help="the synthetic toy shop in place of tables")
    parser.add_argument("--preset", default="tiny", help="preset or file of the first run")
    parser.add_argument("--work", type=Path, required=True, help="where tables and runs are written")
    parser.add_argument("--first", type=float, default=0.5, help="share of the events that the first run has")
    parser.add_argument("--slices", type=int, default=4, help="updates that the rest is cut into")
    parser.add_argument("--replay", type=float, default=0.2, help="update.replay")
    parser.add_argument("flags", nargs="*", help="after --: flags of the first run")
    options = parser.parse_args()
    if not options.toy and not (options.events and options.items):
        parser.error("--events and --items, or --toy")
    options.work.mkdir(parents=True, exist_ok=True)
    events, items = write_toy_shop(options.work) if options.toy else (options.events, options.items)
    slices = cut_slices(events, options.first, options.slices, options.work)
    begin_run(options, slices[0], items)
    print(make_table([update_run(options, number, file, items) for number, file in enumerate(slices[1:], start=1)]))


def write_toy_shop(directory: Path) -> tuple[Path, Path]:
    """The toy shop as two tables."""
    import gzip

    import polars as pl

    from genrec.data.toy import write_raw

    write_raw(directory / "toy")

    def read(name: str) -> list[dict[str, Any]]:
        with gzip.open(directory / "toy" / name, "rt") as file:
            return [json.loads(line) for line in file]

    columns = {"reviewerID": "user_id", "asin": "item_id", "unixReviewTime": "timestamp", "overall": "rating"}
    events, items = directory / "events.csv", directory / "items.csv"
    pl.DataFrame(read("toy_5.json.gz")).select([pl.col(a).alias(b) for a, b in columns.items()]).write_csv(events)
    record = {"item_id": "asin", "title": "title", "brand": "brand"}
    rows = [
        {name: row[key] for name, key in record.items()}
        | {"description": " ".join(row["description"]), "categories": ",".join(row["category"])}
        for row in read("meta_toy.json.gz")
    ]
    pl.DataFrame(rows).write_csv(items)
    return events, items


def cut_slices(events: Path, first: float, slices: int, directory: Path) -> list[Path]:
    """The first share of the events by time, then the rest in parts of about equal length; a table each."""
    import numpy as np
    import polars as pl

    from genrec.data.ledger import Ledger
    from genrec.data.table_files import open_table

    table = open_table(str(events), "events")
    frame = table.read(list(table.columns), Ledger("events")).frame
    frame = frame.sort(pl.col("timestamp").cast(pl.Int64), maintain_order=True)
    bounds = np.linspace(first * len(frame), len(frame), slices + 1).astype(int)
    files = []
    for number, (start, end) in enumerate(zip([0, *bounds[:-1]], bounds, strict=True)):
        files.append(directory / f"slice_{number}.csv")
        frame[int(start) : int(end)].write_csv(files[-1])
    return files


def begin_run(options: argparse.Namespace, events: Path, items: Path) -> None:
    shop = ["--data.source", "table", "--data.events", str(events), "--data.items", str(items)]
    window = [word for pair in NO_WINDOW for word in pair.split()]
    stages = ["--yes", "--to", "sft", "--skip", "convert,sequential"]
    place = ["--config", options.preset, "--run.dir", str(options.work / "run_0")]
    call("run", *place, *shop, *window, *stages, *options.flags)


def update_run(options: argparse.Namespace, number: int, events: Path, items: Path) -> dict[str, Any]:
    """The run goes on with a slice, then the same slice is trained anew; what both were worth and cost."""
    before, home = options.work / f"run_{number - 1}", options.work / f"run_{number}"
    words = ["--from_run", str(before), "--run.dir", str(home), "--events", str(events), "--items", str(items)]
    words += ["--replay", str(options.replay)]
    seconds = {"updated": call("update", *words), "trained anew": call("update", *words, "--anew")}
    told = json.loads((home / "update.json").read_text())
    return {"number": number, "seconds": seconds, "against_anew": compare_with_anew(home, told), **told}


def compare_with_anew(home: Path, told: dict[str, Any]) -> dict[str, Estimate]:
    """Updated less trained anew on each set of rows, row by row: NDCG@10 and its interval."""
    from genrec.evaluation.comparison import measure_all_rows
    from genrec.evaluation.report import read_report

    found = {}
    for rows in told["compared"]:
        place = home / "compared"
        pair = (place / f"{rows}_anew/evaluation/trained_anew", place / f"{rows}/evaluation/updated")
        reports = tuple(read_report(each) for each in pair)
        found[rows] = measure_all_rows(*reports, ("trained anew", "updated"), ("ndcg@10",), 42)[0].difference
    return found


def call(command: str, *words: str) -> float:
    """A command of genrec, to its end; its CPU seconds. What it says is shown only where it fails."""
    before = children_seconds()
    done = subprocess.run([sys.executable, "-m", "genrec", command, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"genrec {command} {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return children_seconds() - before


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_table(slices: list[dict[str, Any]]) -> str:
    """Markdown: a line a slice and set of rows."""
    columns = ("slice", "rows", "events on new items", "as it was", "updated", "trained anew", "updated - trained anew")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for each in slices:
        for rows, told in each["compared"].items():
            models = {name: model["differences"][0] for name, model in told["models"].items()}
            cells = [describe_cell(models[name]) for name in ("updated", "trained anew")]
            first, share = models["updated"]["baseline"], each["drift"]["events_of_new_items"]
            lines.append(
                f"| {each['number']} | {rows}, {models['updated']['rows']:,} | {share:.1%} | {first:.4f} | "
                f"{' | '.join(cells)} | {describe_change(each['against_anew'][rows])} |"
            )
    for name in ("updated", "trained anew"):
        lines.append(f"\nCPU seconds, {name}: " + ", ".join(f"{each['seconds'][name]:.0f}" for each in slices))
    return "\n".join(lines)


def describe_cell(told: dict[str, Any]) -> str:
    """NDCG@10, and its difference from the run as it was."""
    change = told["difference"]
    bounds = "" if change["low"] is None else f" [{change['low']:+.4f}, {change['high']:+.4f}]"
    return f"{told['optimized']:.4f} ({change['mean']:+.4f}{bounds})"


def describe_change(change: Estimate) -> str:
    return f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"


if __name__ == "__main__":
    main()
