"""Lists of many users by shards: a Parquet part a shard, made here or by workers of a Ray cluster, resumable.

    DIR/lists.json                     what they are made with, written first
    DIR/part-00003-of-00008.parquet    users of a shard, in order; whole or not there

Shards are runs of whole blocks of users, and a block is ranked by itself: parts in order are the one-process lists.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genrec.artifacts import whole_path, write_json
from genrec.config import Run
from genrec.engine.cluster import cluster, deal_out, resources
from genrec.errors import ArtifactError, ConfigError
from genrec.guard import Made, differences, read_made
from genrec.launch import note
from genrec.lock import only_writer
from genrec.run_choice import is_run

if TYPE_CHECKING:
    import polars as pl

    from genrec.data.histories import Histories
    from genrec.recommender import Recommender

MADE = "lists.json"
RESTARTS = 5  # of a worker that dies, before the command fails


class Part(NamedTuple):
    """A shard: users `start` to `stop`, and its file."""

    start: int
    stop: int
    path: Path


class Written(NamedTuple):
    """What was written."""

    users: int = 0
    items: int = 0
    cold: int = 0  # users without a history


@dataclass(frozen=True)
class Job:
    """Lists of many users: by what, for whom, how, and into which directory."""

    place: str  # of the model or run; with `model` and `asked` what genrec.load takes
    model: str | None
    asked: dict[str, Any]
    rules: dict[str, Any]  # what Recommender.recommend takes: k, exclude_seen, allow, deny
    directory: Path
    shards: int


def write_shards(job: Job, shop: Recommender, rows: Histories, run: Run) -> None:
    """Every part that is not there yet; ArtifactError where parts were made with other settings."""
    parts, made = cut_shards(len(rows), shop.block, job), describe_making(job, shop, rows)
    with only_writer(job.directory):
        begin(job.directory, made)
        waiting = [part for part in parts if not part.path.exists()]
        if waiting and len(waiting) < len(parts):
            note("recommend", f"{len(parts) - len(waiting)} of {len(parts)} parts are there; going on")
        start, total = time.perf_counter(), Written()
        for written in write_waiting(job, shop, rows, run, waiting):
            total = Written(*map(sum, zip(total, written, strict=True)))
        say_end(job, shop, total, len(waiting), time.perf_counter() - start)


def cut_shards(users: int, block: int, job: Job) -> list[Part]:
    """Whole blocks, as evenly as they go."""
    blocks = -(-users // block)
    if job.shards > blocks:
        raise ConfigError(
            f"--shards {job.shards} would cut through blocks that are ranked at once: {users:,} users are {blocks} of "
            f"{block}; at most --shards {blocks}, or a smaller --evaluation.batch_size"
        )
    ends = [min(users, block * (blocks * shard // job.shards)) for shard in range(job.shards + 1)]
    name = f"part-{{:05d}}-of-{job.shards:05d}.parquet"
    return [Part(a, b, job.directory / name.format(shard)) for shard, (a, b) in enumerate(pairwise(ends))]


def describe_making(job: Job, shop: Recommender, rows: Histories) -> dict[str, dict[str, Any]]:
    """All that the parts depend on."""
    from genrec.model_choice import settings_of_run
    from genrec.serving.version_name import name_version

    asked = {name: value for name, value in job.asked.items() if name != "device"}
    if is_run(Path(job.place)):
        asked = settings_of_run(Path(job.place), shop.model, None) | asked
    rules = {name: value for name, value in job.rules.items() if name not in ("allow", "deny")}
    knobs = {"shards": job.shards, "block": shop.block, "model": shop.model, **rules, **asked}
    lists = {name: digest(job.rules[name]) for name in ("allow", "deny")}
    users = digest([rows.name.tolist(), rows.offset.tolist(), rows.item.tolist()])
    return {"config": knobs, "inputs": {"models": name_version([shop]), "users": users, **lists}}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def begin(directory: Path, made: Made) -> None:
    """A directory of ours, or a new one."""
    path = directory / MADE
    if not path.exists():
        if directory.exists() and any(directory.iterdir()):
            raise ArtifactError(f"{directory} holds files and no {MADE}, so it is none of ours; name another --output")
        directory.mkdir(parents=True, exist_ok=True)
        write_json(path, made)
    elif different := differences(read_made(path), made):
        raise ArtifactError(
            f"{directory} was made with other settings: {'; '.join(different)}. Ways on: another --output, or remove "
            "the directory"
        )
    for torn in directory.glob("*.tmp"):  # of a call that was killed
        torn.unlink()


def write_waiting(job: Job, shop: Recommender, rows: Histories, run: Run, waiting: list[Part]) -> Iterator[Written]:
    """What each part holds, as it is finished, under a progress bar."""
    from tqdm import tqdm

    with tqdm(total=sum(part.stop - part.start for part in waiting), desc="recommend", unit="row", disable=None) as bar:
        if run.engine == "ray" and waiting:
            finished = write_on_ray(job, rows, run, waiting)
        else:
            finished = (write_part(shop, rows.take(part.start, part.stop), job.rules, part.path) for part in waiting)
        for written in finished:
            bar.update(written.users)
            yield written


def write_part(shop: Recommender, rows: Histories, rules: dict[str, Any], path: Path) -> Written:
    """One shard, in this process."""
    written = Written(users=len(rows))
    with open_writer(path, shop.empty) as write:
        for frame in shop.recommend_blocks(rows, **rules):
            write(frame)
            cold = frame.filter(frame["cold"])["user"].n_unique()
            written = written._replace(items=written.items + len(frame), cold=written.cold + cold)
    return written


@contextmanager
def open_writer(path: Path, empty: pl.DataFrame) -> Iterator[Callable[[pl.DataFrame], object]]:
    """A function that adds a frame to the file; the file is whole or not there."""
    with whole_path(path) as beside:
        if path.suffix == ".jsonl":
            with beside.open("wb") as file:
                yield lambda frame: frame.write_ndjson(file)
            return
        import pyarrow.parquet as pq

        schema = empty.to_arrow().schema
        with pq.ParquetWriter(beside, schema) as writer:
            yield lambda frame: writer.write_table(frame.to_arrow().cast(schema))


def say_end(job: Job, shop: Recommender, written: Written, parts: int, seconds: float) -> None:
    if not parts:
        note("recommend", f"all {job.shards} parts are there: up to date -> {job.directory}")
        return
    speed = written.users / max(seconds, 1e-9)
    note(
        "recommend",
        f"{written.users:,} users, {written.items:,} items by '{shop.model}' in {parts} of {job.shards} parts, "
        f"{seconds:.1f} s ({speed:.1f} rows/s) -> {job.directory}",
    )
    if written.cold:
        note("recommend", f"{written.cold:,} users have no history and got the popular items (column cold)")


# On Ray


class ListWorker:
    """An actor: one model, loaded once, and shards of users one after another."""

    def __init__(self, place: str, model: str | None, asked: dict[str, Any], rules: dict[str, Any]) -> None:
        from genrec.loading import load

        self.shop, self.rules = load(place, model, **asked), rules

    def write(self, rows: Histories, path: str) -> Written:
        return write_part(self.shop, rows, self.rules, Path(path))


def write_on_ray(job: Job, rows: Histories, run: Run, waiting: list[Part]) -> Iterator[Written]:
    """Each free worker takes the next part. One that dies is started anew, and its part made again."""
    place = Path(job.place).resolve() if Path(job.place).exists() else None
    with cluster(run, [job.directory, *([place] if place else [])]) as ray:
        given = resources(ray, run, job.asked["device"])
        actor = ray.remote(ListWorker).options(
            num_cpus=given["CPU"], num_gpus=given.get("GPU", 0), max_restarts=RESTARTS, max_task_retries=RESTARTS
        )
        told = (str(place or job.place), job.model, job.asked, job.rules)
        workers = [actor.remote(*told) for _ in range(min(run.workers, len(waiting)))]

        def give(worker: Any, part: Part) -> Any:
            return worker.write.remote(rows.take(part.start, part.stop), str(part.path.resolve()))

        for _, written in deal_out(ray, workers, waiting, give):
            yield written
