"""A Ray cluster: reached, or started on this machine, and its nodes looked at before any work is given to them.

What would end a job hours later is one line now: no cluster at the address, too few cores, versions that differ, a node
without the package, a directory that a node does not see.
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from genrec import __version__
from genrec.config import Run
from genrec.errors import ArtifactError, ConfigError, one_line
from genrec.lock import remove_empty

PATIENCE = 5  # seconds for an address to answer
LONGEST_LOOK = 120  # seconds for a node to say what it is
QUIET = {  # figures are sent to no one; a worker without a GPU sees none, as Ray will have it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

REFUSED = "AuthenticationError"  # in what Ray says, directly or as the cause
ITS_TOKEN = (
    "takes nobody without its token: RAY_AUTH_MODE=token in the environment, here and of every node, and the "
    "token of its head (~/.ray/auth_token, or RAY_AUTH_TOKEN)"
)
START_ONE = "start one (ray start --head), or leave the address out for this machine alone"
QUIETLY = {"logging_level": "warning", "log_to_driver": False}  # what workers say stands in Ray's own logs


class Node(NamedTuple):
    """What a machine says of itself."""

    name: str
    ray: str  # versions
    python: str
    genrec: str  # '' where it cannot be imported
    unseen: tuple[str, ...] = ()  # directories of the caller in which it does not find the caller's mark


@contextmanager
def cluster(run: Run, shared: Sequence[Path]) -> Iterator[ModuleType]:
    """Within: `ray`, connected, on nodes that can do the work and see the `shared` directories.

    ConfigError or ArtifactError names what is wrong. At the end, and on Ctrl-C, workers end with the connection; so
    does a cluster that was started here.
    """
    ray = import_ray()
    connect(ray, run)
    try:
        require_room(ray.cluster_resources().get("CPU", 0), run)
        require_fit_nodes(ray, shared)
        yield ray
    finally:
        ray.shutdown()


def require_engine(run: Run) -> None:
    """What can be known of run.engine before a model is read."""
    if run.engine == "ray":
        import_ray()
        if run.ray_address is not None:
            require_answer(run.ray_address)


def import_ray() -> ModuleType:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("run.engine ray needs Ray, which is not installed: pip install 'genrec[ray]'") from None
    return ray


def connect(ray: ModuleType, run: Run) -> None:
    if run.ray_address is None:
        cpus = run.workers * run.worker_cpus
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **QUIETLY)
        return
    require_answer(run.ray_address)
    try:
        ray.init(address=run.ray_address, **QUIETLY)
    except (ConnectionError, ray.exceptions.RayError) as error:
        if REFUSED in f"{error!r} {error.__cause__!r}":
            raise ConfigError(f"the cluster at run.ray_address {run.ray_address} {ITS_TOKEN}") from None
        raise ConfigError(f"no Ray cluster is there for run.ray_address {run.ray_address}; {START_ONE}") from None
    except (RuntimeError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(f"run.ray_address {run.ray_address} cannot be joined: {one_line(reason)}") from None


def require_answer(address: str) -> None:
    """Ray itself would try for a minute. Of `auto` it knows at once."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"run.ray_address must be HOST:PORT, ray://HOST:PORT or auto, found '{address}'")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"no Ray cluster answers at run.ray_address {address} ({reason}); {START_ONE}") from None


def require_room(cpus: float, run: Run) -> None:
    """Ray would wait for cores that never come."""
    wanted = run.workers * run.worker_cpus
    if cpus < wanted:
        raise ConfigError(
            f"run.workers {run.workers} with run.worker_cpus {run.worker_cpus} need {wanted} cores, the cluster has "
            f"{cpus:g}; ask for fewer, or add nodes (ray start --address HOST:PORT)"
        )


def resources(ray: ModuleType, run: Run, device: str) -> dict[str, float]:
    """What a worker is given, by Ray's names: cores, and a GPU where `device` asks; auto, where each can have one."""
    gpus = ray.cluster_resources().get("GPU", 0)
    wants = device.startswith("cuda") or (device == "auto" and gpus >= run.workers)
    if wants and gpus < run.workers:
        raise ConfigError(
            f"run.device {device} gives each worker a GPU: run.workers is {run.workers}, the cluster has {gpus:g}"
        )
    return {"CPU": run.worker_cpus} | ({"GPU": 1} if wants else {})


# The nodes


def require_fit_nodes(ray: ModuleType, shared: Sequence[Path]) -> None:
    own = Node(socket.gethostname(), ray.__version__, platform.python_version(), __version__)
    with marked(shared) as marks:
        nodes = look_at_nodes(ray, marks)
    for node in nodes:
        if fault := find_fault(node, own):
            raise ConfigError(fault)


@contextmanager
def marked(directories: Sequence[Path]) -> Iterator[list[str]]:
    """Within: each directory holds a file of a name that nobody else has; a path may exist elsewhere by chance."""
    places = [directory.resolve() for directory in dict.fromkeys(directories)]
    marks = [place / f".seen-{uuid.uuid4().hex}" for place in places]
    missing = [path for place in places for path in (place, *place.parents) if not path.exists()]
    try:
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        yield [str(mark) for mark in marks]
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)
        remove_empty(missing)


def look_at_nodes(ray: ModuleType, marks: list[str]) -> list[Node]:
    """Of every node that has cores to work with."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(marks: list[str]) -> dict[str, Any]:  # sent as it stands: where it runs there may be no package
        import os
        import platform

        import ray

        try:
            from genrec import __version__ as version
        except ImportError:
            version = ""
        unseen = [os.path.dirname(mark) for mark in marks if not os.path.exists(mark)]
        return {"ray": ray.__version__, "python": platform.python_version(), "genrec": version, "unseen": unseen}

    there = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    nodes = []
    for node in there:
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(num_cpus=0, max_retries=0)(look).options(scheduling_strategy=strategy).remote(marks)
        try:
            said = ray.get(asked, timeout=LONGEST_LOOK)
        except ray.exceptions.RayError as error:
            raise ArtifactError(
                f"node {node['NodeManagerHostname']} does not work: {one_line(str(error))[:300]}"
            ) from None
        nodes.append(
            Node(node["NodeManagerHostname"], said["ray"], said["python"], said["genrec"], tuple(said["unseen"]))
        )
    return nodes


def find_fault(node: Node, own: Node) -> str:
    """Why a node cannot work for us, '' where it can."""
    for package in ("ray", "python"):
        there, here = getattr(node, package), getattr(own, package)
        if there != here:
            name = package.capitalize()
            return f"node {node.name} has {name} {there}, this process {name} {here}; both need the same"
    if not node.genrec:
        return f"node {node.name} cannot import genrec; install genrec {own.genrec} there"
    if node.genrec != own.genrec:
        return f"node {node.name} has genrec {node.genrec}, this process {own.genrec}; install the same on both"
    if node.unseen:
        return (
            f"node {node.name} does not see {node.unseen[0]} of {own.name}; put it on a disk that all nodes share, "
            "under one path"
        )
    return ""


# Work


def deal_out(
    ray: Any, workers: Iterable[Any], todo: Sequence[Any], give: Callable[[Any, Any], Any]
) -> Iterator[tuple[int, Any]]:
    """Each free worker gets the next of `todo`, by `give(worker, it)`; (place, result) of each as it is finished."""
    free, waiting, at_work = deque(workers), deque(enumerate(todo)), {}
    with own_errors(ray):
        while waiting or at_work:
            while waiting and free:
                worker, (place, task) = free.popleft(), waiting.popleft()
                at_work[give(worker, task)] = worker, place
            done = ray.wait(list(at_work), num_returns=1)[0][0]
            worker, place = at_work.pop(done)
            free.append(worker)
            yield place, ray.get(done)


@contextmanager
def own_errors(ray: Any) -> Iterator[None]:
    """Within: a task's failure comes up as what it was where it ran, that of a worker that keeps dying as a line."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise ArtifactError(
            f"a worker died again and again ({one_line(' '.join(str(error).split()))[:300]}); give it more memory, or "
            "look into Ray's logs, and run the same command again, which goes on"
        ) from error
