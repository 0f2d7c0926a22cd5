"""The tasks of a preparation by shards, given to workers of a Ray cluster.

Tasks read and write files that all nodes see, so only words pass through Ray, and a task whose worker dies is given to
another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genrec.config import SHARDED_SOURCES, Config, Run
from genrec.data.shards.work import MIB, Task, Workers, carry_out, in_turn
from genrec.data.table_files import is_dataset
from genrec.engine.cluster import cluster, deal_out

RETRIES = 5  # of a task whose worker dies, before the command fails
ON_RAY = 256  # MiB of text a task reads where nothing else is asked


def choose_size(config: Config) -> int | None:
    """Bytes of text a task reads; None: all events at once."""
    if config.data.shard_size is not None:
        return config.data.shard_size * MIB
    if config.data.split == "new_items":  # which looks at all of them
        return None
    sharded = config.data.source in SHARDED_SOURCES and not is_dataset(config.data.events or "")
    return ON_RAY * MIB if config.run.engine == "ray" and sharded else None


@contextmanager
def find_workers(run: Run) -> Iterator[Workers]:
    """Within: who carries out tasks, by run.engine."""
    if run.engine == "local":
        yield in_turn
        return
    with cluster(run, [run.dir]) as ray:
        yield lambda tasks: give_out(ray, run, tasks)


def give_out(ray: Any, run: Run, tasks: Sequence[Task]) -> Iterator[tuple[int, dict[str, Any]]]:
    """At most run.workers tasks at once; (place, record) of each as it is finished."""
    threads = {"POLARS_MAX_THREADS": str(run.worker_cpus)}
    remote = ray.remote(carry_out).options(
        num_cpus=run.worker_cpus, max_retries=RETRIES, runtime_env={"env_vars": threads}
    )
    yield from deal_out(ray, range(run.workers), tasks, lambda _, task: remote.remote(task))


def say_whole(files: Sequence[Path], size: int) -> list[str]:
    """Files that one task each reads, however large they are."""
    names = ", ".join(path.name for path in files[:5]) + (", ..." if len(files) > 5 else "")
    reason = "packed, or holds quoted values, so it cannot be cut: one task reads all of it"
    return [f"{names}: larger than {size // MIB} MiB of text and {reason}"] if files else []
