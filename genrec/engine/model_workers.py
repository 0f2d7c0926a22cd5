"""Tasks that need a model, given to workers of a Ray cluster: actors, so that a process keeps what it has loaded.

A worker that dies is started anew, reads its model anew and makes its task again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from genrec.config import Run
from genrec.data.shards.work import Spent, Task, Workers, carry_out, say_spent
from genrec.engine.cluster import cluster, deal_out, require_engine, resources
from genrec.errors import ArtifactError, ConfigError
from genrec.launch import note

RESTARTS = 5  # of a worker that dies, before the command fails


class ModelWorker:
    """An actor. What is wrong on its node is said with the node's name."""

    def carry_out(self, task: Task) -> dict[str, Any]:
        try:
            return carry_out(task)
        except (ArtifactError, ConfigError, ImportError) as error:
            raise ArtifactError(f"node {socket.gethostname()}: {error}") from None


FindWorkers = Callable[[], AbstractContextManager[Workers]]


def choose_workers(stage: str, run: Run, place: Path) -> FindWorkers | None:
    """Who carries out a stage's tasks in `place`: None for this process, else what opens the cluster."""
    if run.engine == "local":
        return None
    require_engine(run)
    return partial(open_workers, stage, run, place)


@contextmanager
def open_workers(stage: str, run: Run, place: Path) -> Iterator[Workers]:
    """Within: run.workers actors, each with its cores and, where run.device asks, a GPU."""
    spent: list[Spent] = []
    workers: list[Any] = []
    with cluster(run, [place]) as ray:
        given = resources(ray, run, run.device)
        actor = ray.remote(ModelWorker).options(
            num_cpus=given["CPU"],
            num_gpus=given.get("GPU", 0),
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
            runtime_env={"env_vars": {"RAYON_NUM_THREADS": str(run.worker_cpus)}},  # of tokenizers
        )
        note(stage, f"{run.workers} workers on Ray" if run.workers > 1 else "1 worker on Ray")

        def carry(tasks: Sequence[Task]) -> Iterator[tuple[int, dict[str, Any]]]:
            workers.extend(actor.remote() for _ in range(min(run.workers, len(tasks)) - len(workers)))
            for place, record in deal_out(ray, workers, tasks, lambda worker, task: worker.carry_out.remote(task)):
                step = tasks[place].function.__name__.replace("_", " ")
                spent.append(Spent(step, 1, record["seconds"], record["peak"]))
                yield place, record

        yield carry
    for line in say_spent(spent, run.workers) if spent else []:
        note(stage, line)
