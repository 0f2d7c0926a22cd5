"""A stage by workers of a Ray cluster: Ray Train starts them and sets the variables that torchrun would set.

The stage is the same and goes on from its own checkpoints, so a worker that is lost costs what came after the last one:
all are started anew, as the same command given again would.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from genrec.commandline import Command
from genrec.config import Config, Run
from genrec.engine.cluster import cluster, resources
from genrec.errors import ArtifactError, ConfigError
from genrec.launch import note, rank
from genrec.pipeline import STAGES, artifact_dir, command_of, reads
from genrec.remote import fetch_stages
from genrec.stage import Job, status

RESTARTS = 3  # of all workers, before the command fails
HEARTBEAT = 0.2  # seconds between two looks at what a worker said
SAID = "screen.txt"
OWN_FILES = ".ray"  # in the run, while workers are at work: what Ray Train writes
BACKENDS = {"evaluation": "gloo"}  # stages whose processes send each other Python's objects; others: Ray's choice


class Refusals:
    """An actor: what workers were refused with. To start them anew would bring the same.

    Where its node is lost it begins again empty, and whoever is refused then says so anew.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def add(self, text: str) -> None:
        self.said.append(text)

    def all(self) -> list[str]:
        return self.said


def run_on_engine(stage: str, command: Command) -> None:
    """sft, rl or evaluation, by whom run.engine says."""
    on_ray = command.config.run.engine == "ray" and not command.dry_run
    if on_ray:
        fetch_inputs(stage, command)
    if on_ray and is_to_run(stage, command):
        require_inputs(stage, command.config)
        work_on_ray(stage, command)
        command = command._replace(clean=False)  # it is there now, and says so
    carry_out(stage, command._replace(config=in_process(command.config)))


def is_to_run(stage: str, command: Command) -> bool:
    """Whether there is work; what is up to date, or refused, needs no cluster to say so."""
    if stage == "evaluation" or command.clean or command.config.run.when_changed != "refuse":
        return True
    module = import_module(f"genrec.stages.{stage}")
    return status(Job(stage, command.config, module.build, module.sources))[0] == "to run"


def fetch_inputs(stage: str, command: Command) -> None:
    """With run.remote: what workers will read. They see the run's directory; this process alone fetches and sends."""
    if stage == "evaluation":
        import_module("genrec.stages.evaluate").fetch_read(command.config)
    else:
        own = () if command.clean else (stage,)
        fetch_stages(command.config, (*reads(stage, command.config), *own))


def of_worker(config: Config) -> Config:
    alone = in_process(config)
    return alone.model_copy(update={"run": alone.run.model_copy(update={"remote": None})})


def in_process(config: Config) -> Config:
    """The same for a process that is a worker, or comes after them."""
    alone = {name: Run.model_fields[name].default for name in ("engine", "ray_address", "workers", "worker_cpus")}
    return config.model_copy(update={"run": config.run.model_copy(update=alone)})


def carry_out(stage: str, command: Command) -> None:
    """The stage in this process."""
    import_module(f"genrec.stages.{STAGES[stage].command}").carry_out(command)


def require_inputs(stage: str, config: Config) -> None:
    """What is missing is told before a cluster is asked; of a table the rows that lack something are left out later."""
    from genrec.artifacts import require

    for name in () if stage == "evaluation" else reads(stage, config):
        require(artifact_dir(config, name), command_of(name))


def work_on_ray(stage: str, command: Command) -> None:
    """All workers to their end; raises what the first one was refused with, or failed of."""
    run = command.config.run
    with cluster(run, [run.dir, Path.cwd()]) as ray:
        refusals = ray.remote(Refusals).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        told = {
            "stage": stage,
            "config": of_worker(command.config).model_dump(mode="json"),
            "origins": dict(command.origins),
            "clean": command.clean,
            "directory": str(Path.cwd()),
            "screen": str(run.dir.resolve() / OWN_FILES / SAID),
            "refusals": refusals,
        }
        place = run.dir.resolve() / OWN_FILES
        place.mkdir(parents=True, exist_ok=True)
        try:
            with relayed(place / SAID):
                fit(ray, stage, command.config, told, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if said := ray.get(refusals.all.remote()):
            raise ArtifactError(said[0])


def fit(ray: ModuleType, stage: str, config: Config, told: dict[str, Any], place: Path) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    given = resources(ray, config.run, config.run.device)
    note(stage, f"{config.run.workers} workers on Ray")
    trainer = TorchTrainer(
        work,
        train_loop_config=told,
        scaling_config=ScalingConfig(
            num_workers=config.run.workers, use_gpu="GPU" in given, resources_per_worker=given
        ),
        torch_config=TorchConfig(backend=BACKENDS.get(stage)),
        run_config=RunConfig(name=stage, storage_path=str(place), failure_config=FailureConfig(max_failures=RESTARTS)),
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit as error:  # Ray's own answer to Ctrl-C, once it has ended the workers
        if error.code not in (0, 1):
            raise
        raise KeyboardInterrupt from None
    except ray.train.TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        raise next(iter(failures.values()), error) from error
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def relayed(path: Path) -> Iterator[None]:
    """Within: lines that the first worker adds to a file come to this screen."""
    path.touch()
    ended = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8", errors="replace") as file:
            while not ended.wait(HEARTBEAT):
                relay(file)
            relay(file)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def relay(file: TextIO) -> None:
    sys.stdout.write(file.read())
    sys.stdout.flush()


# In a worker


def work(told: dict[str, Any]) -> None:
    """Its share of the stage; what the first one says goes to the screen of who asked."""
    import ray

    refusals = told["refusals"]
    if ray.get(refusals.all.remote()):
        return
    os.chdir(told["directory"])
    command = Command(Config.model_validate(told["config"]), told["clean"], origins=told["origins"])
    with open(told["screen"] if rank() == 0 else os.devnull, "a", encoding="utf-8", buffering=1) as screen:
        try:
            with redirect_stdout(screen):
                carry_out(told["stage"], command)
        except (ArtifactError, ConfigError) as error:
            ray.get(refusals.add.remote(str(error)))
            raise
