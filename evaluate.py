"""Score one or several model families on held-out rows, against the whole catalogue, and print one table.

Reads   data/, and what the chosen models need (sft: sids/ and sft/; sasrec: sequential/)
Writes  evaluation/<model>/{results.json, eval_results.jsonl, recommendations.npz, per_example.npz}
        evaluation/results.json (all models), evaluation/summary.txt

    python evaluate.py --config config/quickstart.yaml
    python evaluate.py --config config/quickstart.yaml --models popular,last_item,sasrec,sft
    python evaluate.py --base_model path/to/model --category Industrial_and_Scientific --num_beams 20 --limit 500
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from genrec import stage
from genrec.artifacts import CODES, EVAL_RESULTS, RESULTS, SUMMARY, write_json, write_text
from genrec.config import Config
from genrec.data.prepared import Prepared, load_prepared
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import (
    CUTOFFS,
    Recommendations,
    check_recommendations,
    join_recommendations,
    sid_groups,
)
from genrec.evaluation.predictions import read_predictions, show_examples, write_predictions
from genrec.evaluation.report import (
    describe_rows,
    make_report,
    make_slices,
    read_results,
    table,
    write_report,
)
from genrec.models.families import FAMILIES, Recommender, fingerprints_read, require_stages, stages_read

CHUNK = 128  # rows between two moves of the progress bar


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Each family in turn; one that a killed run had finished is not scored again."""
    require_stages(config)
    data, options = load_prepared(config), config.evaluate
    examples = chosen_examples(data, options.split, options.limit, config.run.seed)
    rows = describe_rows(examples, data.catalog, data.sequences, options.split, len(data.splits[options.split]))
    slices = make_slices(examples, data.catalog, data.train_count)
    seconds = {}
    for name in options.models:
        if not (partial / name / RESULTS).exists():
            begin = time.perf_counter()
            recommendations = recommend(name, FAMILIES[name].load(config, data), examples, len(data.catalog))
            report = make_report(name, rows, examples, recommendations, slices, data.train_count, item_to_sid(config))
            (partial / name).mkdir(exist_ok=True)
            write_predictions(partial / name, examples, recommendations, data.catalog, data.sequences)
            write_report(report, partial / name, config.run.seed)
            seconds[name] = round(time.perf_counter() - begin, 2)
    found = [read_results(partial / name) for name in options.models]
    write_json(partial / RESULTS, {"models": {content["model"]: content for content in found}})
    summarise(config, data, found, partial)
    ndcg = {content["model"]: content["metrics"]["ndcg@10"]["mean"] for content in found}
    return {"rows": len(examples), "ndcg@10": ndcg, "seconds": seconds}


def chosen_examples(data: Prepared, split: str, limit: int, seed: int) -> Examples:
    """The rows of a split, or `limit` of them drawn by seed and kept in order."""
    examples = data.examples(split)
    if not limit or limit >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).choice(len(examples), limit, replace=False)))


def recommend(name: str, recommender: Recommender, examples: Examples, num_items: int) -> Recommendations:
    """The family's lists for all examples, under a progress bar and checked."""
    parts, k = [], max(CUTOFFS)
    with tqdm(total=len(examples), desc=f"evaluation: {name}", unit="row", disable=None) as bar:
        for begin in range(0, len(examples), CHUNK):
            rows = examples.take(np.arange(begin, min(begin + CHUNK, len(examples))))
            parts.append(recommender.recommend(rows, k))
            check_recommendations(parts[-1], len(rows), k, num_items)
            bar.update(len(rows))
    return join_recommendations(parts)


def item_to_sid(config: Config) -> np.ndarray | None:
    """(N,) number of each item's SID where a chosen model answers in SIDs, else None."""
    if "sids" not in stages_read(config):
        return None
    return sid_groups(np.load(stage.stage_dir(config, "sids") / CODES, allow_pickle=False))


def summarise(config: Config, data: Prepared, found: list[dict[str, Any]], partial: Path) -> None:
    """One table, five users by title, the paths; on the screen and in summary.txt."""
    final, last = stage.stage_dir(config, "evaluation"), found[-1]["model"]
    shown = show_examples(*read_predictions(partial / last), data.catalog, data.sequences, config.run.seed)
    text = (
        f"{table(found)}\n\nFive users, recommendations of '{last}':\n\n{shown}\n\n"
        f"All numbers: {final / RESULTS}\nA line a row: {final / last / EVAL_RESULTS}\nThis text: {final / SUMMARY}\n"
    )
    write_text(partial / SUMMARY, text)
    print("\n" + text)


if __name__ == "__main__":
    stage.main("evaluation", "evaluate", __doc__, build, fingerprints_read)
