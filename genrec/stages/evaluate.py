"""Score one or several model families on held-out rows, against the whole catalogue, and print one table.

Reads   data/, and what the chosen models need (sft: sids/ and sft/; sasrec: sequential/)
Writes  evaluation/<model>/{results.json, eval_results.jsonl, recommendations.npz, per_example.npz}
        evaluation/results.json (all models), evaluation/summary.txt

    genrec evaluate --config quickstart
    genrec evaluate --config quickstart --models popular,last_item,sasrec,sft
    genrec evaluate --config quickstart --models sft --ranking exact    # what do the beams lose?
    torchrun --nproc_per_node 4 -m genrec evaluate --config 0.5b                  # rows shared out, same result
    genrec evaluate --base_model path/to/model --category Industrial_and_Scientific --num_beams 20 --limit 500
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from genrec import stage
from genrec.artifacts import EVAL_RESULTS, RESULTS, SUMMARY, write_json, write_text
from genrec.config import Config, Evaluation
from genrec.data.prepared import Prepared
from genrec.data.repeats import leaves_out_seen
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
    describe_beam_loss,
    describe_rows,
    make_report,
    make_slices,
    make_table,
    measure_beam_loss,
    read_results,
    write_report,
)
from genrec.launch import rank, world_size
from genrec.models.families import (
    FAMILIES,
    Recommender,
    Request,
    describe_lists,
    fingerprints_outside,
    rows_scored,
)
from genrec.pipeline import artifact_dir, reads
from genrec.store import RunStore

BATCHES = 8  # between two moves of the progress bar


def build(config: Config, partial: Path) -> dict[str, Any]:
    if world_size() == 1:
        return score(config, partial)
    from genrec.runtime.processes import process_group

    with process_group():
        return score(config, partial)


def score(config: Config, partial: Path) -> dict[str, Any]:
    """Each family in turn; one that a killed run had finished is not scored again."""
    store, settings = RunStore.of(config), config.evaluation
    data = store.prepared()
    shop = store.with_new_items(data) if settings.index == "sids_grown" else data  # what can be recommended
    filter_seen = leaves_out_seen(settings.filter_seen, data)
    examples = choose_examples(data, settings.split, settings.limit, config.run.seed)
    examples = examples.without_seen() if filter_seen else examples
    rows = describe_rows(examples, shop.catalog, data.sequences, settings.split, len(data.splits[settings.split]))
    slices = make_slices(examples, shop.catalog, shop.train_count)
    request, item_sid = Request(store, data, settings, config.run.device), item_to_sid(config)
    names, seconds = rows_scored(settings), {}
    for name in names:
        if not (partial / name / RESULTS).exists():
            begin = time.perf_counter()
            recommender = FAMILIES[name](request)
            recommendations = recommend(name, recommender, examples, len(shop.catalog), BATCHES * settings.batch_size)
            if rank() > 0:
                continue
            lists = describe_lists(name, settings, len(shop.catalog), filter_seen)
            report = make_report(name, rows, examples, recommendations, slices, shop.train_count, lists, item_sid)
            (partial / name).mkdir(exist_ok=True)
            write_predictions(partial / name, examples, recommendations, shop.catalog, shop.sequences)
            write_report(report, partial / name, config.run.seed)
            seconds[name] = round(time.perf_counter() - begin, 2)
    if rank() > 0:
        return {}
    contents = [read_results(partial / name) for name in names]
    losses = measure_beam_losses(settings, config.run.seed, partial)
    write_json(partial / RESULTS, {"models": {content["model"]: content for content in contents}, "beam_loss": losses})
    write_summary(config, shop, contents, losses, partial)
    ndcg = {each["model"]: each["metrics"]["ndcg@10"]["mean"] for each in contents if "ndcg@10" in each["metrics"]}
    return {"rows": len(examples), "ndcg@10": ndcg, "seconds": seconds}


def measure_beam_losses(settings: Evaluation, seed: int, partial: Path) -> dict[str, Any]:
    """{model: what its beams lost} of every model that was also ranked exactly."""
    losses = {}
    for name in settings.models:
        if f"{name}_exact" in rows_scored(settings):
            examples, beams = read_predictions(partial / name)
            exact = read_predictions(partial / f"{name}_exact")[1]
            length = read_results(partial / name)["lists"]["length"]
            losses[name] = measure_beam_loss(examples, beams, exact, length, seed)
    return losses


def choose_examples(data: Prepared, split: str, limit: int, seed: int) -> Examples:
    """The rows of a split, or `limit` of them drawn by seed and kept in order."""
    examples = data.some_examples(split)
    if not limit or limit >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).choice(len(examples), limit, replace=False)))


def recommend(
    name: str, recommender: Recommender, examples: Examples, num_items: int, rows_a_block: int
) -> Recommendations | None:
    """The family's lists for all examples, checked, under a progress bar; of several processes rank 0 has them.

    Processes share out whole blocks, so that every batch, and with it every score, is what one process makes of it.
    """
    blocks, k = [], max(CUTOFFS)
    bounds = [*range(0, len(examples), rows_a_block), len(examples)]
    spans = list(pairwise(bounds))[rank() :: world_size()]
    with tqdm(total=sum(b - a for a, b in spans), desc=f"evaluation: {name}", unit="row", disable=is_quiet()) as bar:
        for begin, end in spans:
            blocks.append(recommender.recommend(examples.take(np.arange(begin, end)), k))
            check_recommendations(blocks[-1], end - begin, k, num_items)
            bar.update(end - begin)
    if world_size() > 1:
        from genrec.runtime.processes import gather_first

        blocks = gather_first(blocks)
    return join_recommendations(blocks) if blocks else None


def is_quiet() -> bool | None:
    """No bar beside rank 0's, and none where there is no terminal."""
    return True if rank() > 0 else None


def item_to_sid(config: Config) -> np.ndarray | None:
    """(N,) number of each item's SID where a chosen model answers in SIDs, else None."""
    if "sids" not in reads("evaluation", config):
        return None
    store = RunStore.of(config)
    index = store.index()
    return sid_groups(store.grown(index).index.codes if config.evaluation.index == "sids_grown" else index.codes)


def write_summary(
    config: Config, data: Prepared, contents: list[dict[str, Any]], beam_losses: dict[str, Any], partial: Path
) -> None:
    """One table, what beams lost, five users by title, the paths; on the screen and in summary.txt."""
    final, last = artifact_dir(config, "evaluation"), config.evaluation.models[-1]
    five_users = show_examples(*read_predictions(partial / last), data.catalog, data.sequences, config.run.seed)
    losses = "".join(f"{describe_beam_loss(name, loss)}\n" for name, loss in beam_losses.items())
    text = (
        f"{make_table(contents)}\n{losses}\nFive users, recommendations of '{last}':\n\n{five_users}\n\n"
        f"All numbers: {final / RESULTS}\nA line a row: {final / last / EVAL_RESULTS}\nThis text: {final / SUMMARY}\n"
    )
    write_text(partial / SUMMARY, text)
    print("\n" + text)


def sources(config: Config) -> dict[str, str]:
    return fingerprints_outside(RunStore.of(config), config.evaluation)


def main(argv: list[str] | None = None) -> None:
    stage.main("evaluation", __doc__, build, sources, argv)
