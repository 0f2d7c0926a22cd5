"""Score one or several model families on held-out rows, against the whole catalogue, and print one table.

Reads   data/, and what the chosen models need (sft: sids/ and sft/; sasrec: sequential/)
Writes  evaluation/<row>/{results.json, eval_results.jsonl, recommendations.npz, per_example.npz}, an artifact a row
        evaluation/results.json (all rows), evaluation/summary.txt; on valid rows evaluation_valid/...

    genrec evaluate --config quickstart
    genrec evaluate --config quickstart --models popular,last_item,sasrec,sft
    genrec evaluate --config quickstart --models sft --num_beams 20     # one more row, beside the one of 50 beams
    genrec evaluate --config quickstart --models sft --ranking exact    # what do the beams lose?
    genrec evaluate --config quickstart --models sft --decoding frontier    # lists that are proven, one more row
    torchrun --nproc_per_node 4 -m genrec evaluate --config 0.5b                  # rows shared out, same result
    genrec evaluate --config 0.5b --run.engine ray --run.workers 4                # the same by workers of Ray
    genrec evaluate --base_model path/to/model --category Industrial_and_Scientific --num_beams 20 --limit 500
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from genrec import stage
from genrec.artifacts import EVAL_RESULTS, RESULTS, SUMMARY, read_manifest, write_json, write_text
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config
from genrec.data.prepared import Prepared
from genrec.data.repeats import leaves_out_seen
from genrec.data.sequences import Examples
from genrec.engine.torch_workers import run_on_engine
from genrec.errors import ArtifactError, exit_on_failure
from genrec.evaluation.metrics import (
    CUTOFFS,
    Recommendations,
    check_recommendations,
    join_recommendations,
    sid_groups,
)
from genrec.evaluation.predictions import read_predictions, show_examples, write_predictions
from genrec.evaluation.report import (
    ScoredRows,
    describe_beam_loss,
    describe_rows,
    make_report,
    make_slices,
    make_table,
    measure_beam_loss,
    measure_certified_loss,
    read_results,
    write_report,
)
from genrec.evaluation.rows import ScoredRow, list_rows, name_row, plain_name
from genrec.launch import note, rank, world_size
from genrec.models.families import (
    Ranking,
    Recommender,
    Request,
    describe_lists,
    find_family,
    fingerprints_outside,
    rows_scored,
)
from genrec.pipeline import RANKED_FAMILIES, STAGES, artifact_dir, command_of, in_order, read_by_row
from genrec.recipe_places import link_places
from genrec.remote import fetch_artifacts, fetch_stages, require_run_there
from genrec.runtime.training_record import is_unchanged
from genrec.stage import Job
from genrec.store import RunStore

STAGE = "evaluation"
BATCHES = 8  # between two moves of the progress bar


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of(STAGE), __doc__, STAGES[STAGE].section), argv)
    with exit_on_failure(command.config.run.dir):
        run_on_engine(STAGE, command)


def carry_out(command: Command) -> None:
    """In this process; of several that were launched, its share."""
    evaluate(command, named=command.origins.get("evaluation.models", "").startswith("--"))


def evaluate(command: Command, named: bool = False) -> None:
    """A row a family that the run has; what it lacks is left out with a line, or an error where the user named it."""
    config = settle_model(command.config)
    if not command.dry_run:
        fetch_read(config)
    with together():
        jobs = plan_rows(config, named, command.dry_run)
        before = {job.row: read_manifest(job.final) for job in jobs}
        for job in jobs:
            stage.run_job(job, command)
    if rank() == 0 and not command.dry_run:
        if any(read_manifest(job.final) != before[job.row] for job in jobs):
            write_summary(config, jobs[-1])
        else:
            note(STAGE, f"the table: {artifact_dir(config, STAGE) / SUMMARY}")
        link_places(STAGE, config, name_given_model(command.config, config, jobs))


def fetch_read(config: Config) -> None:
    """With run.remote: what the rows read, and those that have their names already."""
    require_run_there(config)
    families = rows_scored(config.evaluation)
    fetch_stages(config, in_order({name for family in families for name in read_by_row(family, config)}))
    table = artifact_dir(config, STAGE).relative_to(config.run.dir)
    fetch_artifacts(config, [f"{table}/{plain_name(config, family)}" for family in families])


def name_given_model(asked: Config, config: Config, jobs: list[Job]) -> dict[str, str]:
    """{name of the model directory that was given: its row}; `config` is what became of what was asked."""
    given = asked.evaluation.base_model
    if given is None:
        return {}
    family = "sft" if config.evaluation.base_model else given.resolve().name
    return {Path(os.path.abspath(given)).name: next(job.row for job in jobs if job.family == family)}


def ensure_row(config: Config, family: str) -> Path:
    """The directory of the row that these settings ask of a family; it is scored now if it is not there."""
    settings = config.evaluation.model_copy(update={"models": [family]})
    config = settle_model(config.model_copy(update={"evaluation": settings}))
    job = make_job(HeldOut(config), config.evaluation.models[0])
    if stage.status(job)[0] != "up to date":
        stage.run_job(job, Command(config))
    return job.final


def settle_model(config: Config) -> Config:
    """A `base_model` that is the run's own sft or rl is scored as that, wherever a link to it lies."""
    settings, given = config.evaluation, config.evaluation.base_model
    if given is None:
        return config
    for own in ("sft", "rl"):
        if given.resolve() == artifact_dir(config, own).resolve():
            models = list(dict.fromkeys(own if name == "sft" else name for name in settings.models))
            own_settings = settings.model_copy(update={"base_model": None, "models": models})
            return config.model_copy(update={"evaluation": own_settings})
    return config


@contextmanager
def together() -> Iterator[None]:
    """Within: processes of one launch can gather what each has ranked."""
    if world_size() == 1:
        yield
        return
    from genrec.runtime.processes import process_group

    with process_group():
        yield


def plan_rows(config: Config, named: bool, dry_run: bool = False) -> list[Job]:
    held_out, jobs = HeldOut(config), []
    for family in rows_scored(config.evaluation):
        needed = [name for name in read_by_row(family, config) if name != "data"]
        missing = [name for name in needed if read_manifest(artifact_dir(config, name)) is None]
        if missing and not named:
            place = artifact_dir(config, missing[0])
            if dry_run:  # of a pipeline, whose earlier stages have written nothing either
                note(STAGE, f"{family}: to run, where {place} is there by then")
            else:
                note(STAGE, f"{family} is left out: {place} is not there; `{command_of(missing[0])}` makes it")
        else:
            jobs.append(make_job(held_out, family))
    if not jobs:
        raise ArtifactError(
            f"none of {', '.join(config.evaluation.models)} is there to be scored in {config.run.dir}; train one, or "
            f"score what needs no training: {command_of(STAGE)} --models popular,last_item,item_knn"
        )
    return jobs


def make_job(held_out: HeldOut, family: str) -> Job:
    def build(config: Config, partial: Path) -> dict[str, Any]:
        return score(held_out, family, partial)

    def sources(config: Config) -> dict[str, str]:
        return fingerprints_outside(RunStore.of(config), config.evaluation, family)

    return name_row(Job(STAGE, held_out.config, build, sources, family))


@dataclass(frozen=True)
class HeldOut:
    """The rows that a configuration asks for, read once for all families."""

    config: Config

    @cached_property
    def store(self) -> RunStore:
        return RunStore.of(self.config)

    @cached_property
    def data(self) -> Prepared:
        return self.store.prepared()

    @cached_property
    def shop(self) -> Prepared:
        """What can be recommended."""
        grown = self.config.evaluation.index == "sids_grown"
        return self.store.with_new_items(self.data) if grown else self.data

    @cached_property
    def filter_seen(self) -> bool:
        """Whether lists leave out what the user had before."""
        return leaves_out_seen(self.config.evaluation.filter_seen, self.data)

    @cached_property
    def examples(self) -> Examples:
        settings = self.config.evaluation
        examples = choose_examples(self.data, settings.split, settings.limit, self.config.run.seed)
        return examples.without_seen() if self.filter_seen else examples

    @cached_property
    def rows(self) -> ScoredRows:
        split = self.config.evaluation.split
        whole = len(self.data.splits[split])
        return describe_rows(self.examples, self.shop.catalog, self.data.sequences, split, whole)

    @cached_property
    def slices(self) -> dict[str, np.ndarray]:
        return make_slices(self.examples, self.shop.catalog, self.shop.train_count)

    @cached_property
    def item_to_sid(self) -> np.ndarray:
        """(N,) number of each item's SID."""
        index = self.store.index()
        grown = self.config.evaluation.index == "sids_grown"
        return sid_groups(self.store.grown(index).index.codes if grown else index.codes)


def score(held_out: HeldOut, family: str, partial: Path) -> dict[str, Any]:
    """One family's lists for all rows, and what they are worth."""
    config, data, shop, examples = held_out.config, held_out.data, held_out.shop, held_out.examples
    begin = time.perf_counter()
    recommender = find_family(family)(Request(held_out.store, data, config.evaluation, config.run.device))
    ranking = config.evaluation.target_ranks and family in RANKED_FAMILIES
    recommendations = recommend(
        family, recommender, examples, len(shop.catalog), BATCHES * config.evaluation.batch_size, ranking
    )
    if recommendations is None:
        return {}
    item_to_sid = held_out.item_to_sid if "sids" in read_by_row(family, config) else None
    lists = describe_lists(family, config.evaluation, len(shop.catalog), held_out.filter_seen)
    report = make_report(
        family,
        held_out.rows,
        examples,
        recommendations,
        held_out.slices,
        shop.train_count,
        lists,
        item_to_sid,
        config.evaluation.metrics,
    )
    write_predictions(partial, examples, recommendations, shop.catalog, shop.sequences)
    write_report(report, partial, config.run.seed)
    metrics = read_results(partial)["metrics"]
    ndcg = {name: metrics[name]["mean"] for name in ("ndcg@10",) if name in metrics}
    return {
        "rows": len(examples),
        **ndcg,
        **count_proven(family, recommendations),
        **count_certified(family, recommendations),
        "scoring_seconds": round(time.perf_counter() - begin, 2),
    }


def count_proven(family: str, recommendations: Recommendations) -> dict[str, int]:
    """{"proven": lists that a frontier proved}, said where one searched; those that it did not are the best found."""
    exact = recommendations.exact
    if exact is None:
        return {}
    proven, rows = int(exact.sum()), len(exact)
    more = "" if proven == rows else "; a larger --evaluation.frontier_budget proves more"
    note(STAGE, f"{family}: {proven:,} of {rows:,} lists are proven to be exact{more}")
    return {"proven": proven}


def count_certified(family: str, recommendations: Recommendations) -> dict[str, int]:
    """{"certified": targets whose rank is proven}, said where ranks were looked for beyond the lists."""
    if recommendations.targets is None:
        return {}
    certified, rows = int(recommendations.targets.exact.sum()), len(recommendations)
    more = "" if certified == rows else "; a larger --evaluation.frontier_budget proves more"
    note(STAGE, f"{family}: the ranks of {certified:,} of {rows:,} targets are proven{more}")
    return {"certified": certified}


def choose_examples(data: Prepared, split: str, limit: int, seed: int) -> Examples:
    """The rows of a split, or `limit` of them drawn by seed and kept in order."""
    examples = data.some_examples(split)
    if not limit or limit >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).choice(len(examples), limit, replace=False)))


def recommend(
    name: str, recommender: Recommender, examples: Examples, num_items: int, rows_a_block: int, ranking: bool = False
) -> Recommendations | None:
    """The family's lists for all examples, checked, under a progress bar; of several processes rank 0 has them.

    `ranking` adds where each target stands.

    Processes share out whole blocks, so that every batch, and with it every score, is what one process makes of it.
    """
    blocks, k = [], max(CUTOFFS)
    bounds = [*range(0, len(examples), rows_a_block), len(examples)]
    spans = list(pairwise(bounds))[rank() :: world_size()]
    with tqdm(total=sum(b - a for a, b in spans), desc=f"evaluation: {name}", unit="row", disable=is_quiet()) as bar:
        for begin, end in spans:
            block = examples.take(np.arange(begin, end))
            lists = recommender.recommend(block, k)
            check_recommendations(lists, end - begin, k, num_items)
            if ranking and isinstance(recommender, Ranking):
                lists = replace(lists, targets=recommender.rank_targets(block))
            blocks.append(lists)
            bar.update(end - begin)
    if world_size() > 1:
        from genrec.runtime.processes import gather_first

        blocks = gather_first(blocks)
    return join_recommendations(blocks) if blocks else None


def is_quiet() -> bool | None:
    """No bar beside rank 0's, and none where there is no terminal."""
    return True if rank() > 0 else None


def write_summary(config: Config, last: Job) -> None:
    """The table of all rows that are there, what beams lost, five users by title; on the screen and in files."""
    directory, rows = artifact_dir(config, STAGE), list_rows(config)
    fresh = [row for row in rows if not row.stale and row.results["rows"] == read_results(last.final)["rows"]]
    contents = [row.results | {"model": row.name} for row in fresh]
    losses = measure_beam_losses(fresh, config.run.seed)
    write_json(directory / RESULTS, {"models": {row.name: row.results for row in fresh}, "beam_loss": losses})
    shop = HeldOut(config).shop
    five_users = show_examples(*read_predictions(last.final), shop.catalog, shop.sequences, config.run.seed)
    notes = [describe_beam_loss(name, loss) for name, loss in losses.items()]
    notes += [describe_absence(row) for row in rows if row not in fresh]
    if is_unchanged(artifact_dir(config, "rl")) and any(row.name == "rl" for row in fresh):
        notes.append("rl = sft: RL did not help on valid")
    text = "\n".join([
        make_table(contents), *notes, f"\nFive users, recommendations of '{last.row}':\n", five_users,
        f"\nAll numbers: {directory / RESULTS}", f"A line a row: {last.final / EVAL_RESULTS}",
        f"This text: {directory / SUMMARY}\n",
    ])  # fmt: skip
    write_text(directory / SUMMARY, text)
    print("\n" + text)


def describe_absence(row: ScoredRow) -> str:
    if row.stale:
        return f"not in the table: {row.name}, of an earlier {row.stale}; score it anew with --clean"
    rows = row.results["rows"]
    return f"not in the table: {row.name}, of other rows ({rows['rows']:,} of {rows['rows_of_split']:,})"


def measure_beam_losses(rows: list[ScoredRow], seed: int) -> dict[str, Any]:
    """{row: what its beams lost} of every row of a language model that was ranked exactly, or whose targets were."""
    exact, losses = {row.name: row for row in rows if row.family.endswith("_exact")}, {}
    for row in rows:
        if twin := exact.get(f"{row.family}_exact{row.name.removeprefix(row.family)}"):
            examples, beams = read_predictions(row.directory)
            length = row.results["lists"]["length"]
            losses[row.name] = measure_beam_loss(examples, beams, read_predictions(twin.directory)[1], length, seed)
        elif "certified" in row.statistics and row.results["lists"]["num_beams"]:
            examples, beams = read_predictions(row.directory)
            losses[row.name] = measure_certified_loss(examples, beams, row.results["lists"]["length"], seed)
    return losses
