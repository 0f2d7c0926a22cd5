"""How a stage runs: read artifacts, write one artifact, be killed at any moment and go on.

with nothing there            build into <stage>.partial/, write the manifest last, rename to <stage>/
same config and inputs        "up to date", nothing is touched
other config or inputs        refused, naming what differs and the ways on
<stage>.partial/ of a kill    resumed by the stage itself when config and inputs are the same
--clean                       built anew beside what is there, which is replaced when the new one is whole
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from genrec import artifacts
from genrec.artifacts import MANIFEST, Manifest, read_manifest, remove_directories
from genrec.commandline import Command, parse, stage_program
from genrec.config import SHARDED_SOURCES, Config, value_at
from genrec.errors import ArtifactError, ConfigError, exit_on_failure
from genrec.guard import Made, differences, read_made, refusal
from genrec.launch import note, rank, world_size
from genrec.lock import only_writer
from genrec.pipeline import (
    BY_NAME,
    EVERY,
    FAMILY_READS,
    MEASURED,
    RUN,
    STAGES,
    affected,
    artifact_dir,
    call_of,
    command_of,
    depends_on,
    needed_for,
    read_by_row,
    reads,
    row_depends_on,
)
from genrec.places import PACKAGE
from genrec.plugins import PLUGIN_KEYS, find_plugins, fingerprint_plugin
from genrec.recipe_places import link_places
from genrec.remote import remote_of
from genrec.verify import ALWAYS

MOST_RUNS = 1000  # that run.when_changed new_run begins beside one
BEGUN = ".begun.json"  # inside <stage>.partial: what it was begun with
ON_ENGINES = "prepare of tables and Amazon's reviews, embed, sids of many, sft, rl, evaluate, recommend --shards"
PACKAGES = ("numpy", "polars", "torch", "transformers", "sentence-transformers", "faiss-cpu", "onnx", "onnxruntime")

Build = Callable[[Config, Path], dict[str, Any]]  # (config, partial directory) -> statistics
Sources = Callable[[Config], dict[str, str]]  # fingerprints of files outside the run, by what they are to the stage
Identity = dict[str, dict[str, Any]]  # {"config": {knob: value}, "inputs": {name: fingerprint}}
State = Literal["to run", "up to date", "stale"]


@dataclass(frozen=True)
class Job:
    """A stage of one run: its configuration, and how it is built. Of `evaluation`, one row of its table."""

    stage: str
    config: Config
    build: Build
    sources: Sources | None = None
    family: str = ""  # of a row: whose lists it holds
    row: str = ""  # its name, and that of its directory

    @property
    def name(self) -> str:
        """What its lines on the screen begin with."""
        return f"{self.stage}: {self.row}" if self.row else self.stage

    @property
    def final(self) -> Path:
        return artifact_dir(self.config, self.stage) / self.row

    @property
    def reads(self) -> tuple[str, ...]:
        return read_by_row(self.family, self.config) if self.family else reads(self.stage, self.config)

    @property
    def keys(self) -> tuple[str, ...]:
        """The configuration that its result depends on."""
        return row_depends_on(self.family, self.config) if self.family else depends_on(self.stage, self.config)

    @property
    def partial(self) -> Path:
        return self.final.with_name(self.final.name + ".partial")

    @property
    def replaced(self) -> Path:
        """Where the artifact that --clean replaces stands for the moment of the swap."""
        return self.final.with_name(self.final.name + artifacts.REPLACED)

    @property
    def identity(self) -> Identity:
        """What the artifact depends on: knobs, seed, and the fingerprints of what it reads, as far as that exists."""
        knobs = {key: plain(value_at(self.config, key)) for key in self.keys}
        knobs |= {"family": self.family} if self.family else {}
        manifests = {name: read_manifest(artifact_dir(self.config, name)) for name in self.reads}
        inputs = {name: manifest.fingerprint for name, manifest in manifests.items() if manifest}
        own = [(name, kind) for key, kind in PLUGIN_KEYS.items() for name in find_plugins(knobs.get(key), kind)]
        inputs |= {f"source of {name}": fingerprint_plugin(name, kind) for name, kind in own}
        return {"config": knobs, "inputs": inputs | (self.sources(self.config) if self.sources else {})}

    def of_run(self, run_dir: Path) -> Job:
        """The same in another run."""
        run = self.config.run.model_copy(update={"dir": run_dir})
        return replace(self, config=self.config.model_copy(update={"run": run}))


def plain(value: Any) -> Any:
    """A knob's value as JSON has it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return str(value) if isinstance(value, Path) else value


def main(stage: str, doc: str, build: Build, sources: Sources | None = None, argv: list[str] | None = None) -> Command:
    """A stage's command: parse, then `run`; every expected failure ends in one line and exit 1."""
    command = parse(stage_program(command_of(stage), doc, EVERY[stage].section), argv)
    with exit_on_failure(command.config.run.dir):
        return run(stage, command, build, sources)


def run(stage: str, command: Command, build: Build, sources: Sources | None = None) -> Command:
    """One stage, from what is there to what should be there; returns the command as it was carried out."""
    data_by_shards = stage == "data" and command.config.data.source in SHARDED_SOURCES
    by_shards = stage in ("embeddings", "sids") or data_by_shards
    if command.config.run.engine != "local" and not by_shards:
        note(stage, f"is computed by this process; run.engine {command.config.run.engine} is for {ON_ENGINES}")
    job = settle_run(Job(stage, command.config, build, sources), command)
    command = command._replace(config=job.config)
    run_job(job, command)
    if rank() == 0 and not command.dry_run:
        link_places(stage, job.config)
    return command


def settle_run(job: Job, command: Command) -> Job:
    """The job, or with run.when_changed new_run the first of <run>, <run>_2, ... that has no other artifact there."""
    if job.config.run.when_changed == "refuse" or command.clean:
        return job
    first, wanted = job.config.run.dir, job.identity
    runs = [first, *(first.with_name(f"{first.name}_{number}") for number in range(2, MOST_RUNS))]
    chosen = next((other for run in runs if fits(other := job.of_run(run), wanted)), None)
    if chosen is None:
        raise ArtifactError(f"{first} to {runs[-1].name} hold other settings; name a run by --run.dir NEW")
    if chosen.config.run.dir == first:
        return job
    note(job.stage, f"{first} was made with other settings; this is {chosen.config.run.dir}, begun from it")
    begun = chosen.config.run.model_copy(update={"from_run": first})
    chosen = replace(chosen, config=job.config.model_copy(update={"run": begun}))
    if rank() == 0 and not command.dry_run:
        share_rest(job, chosen)
    return chosen


def fits(job: Job, wanted: Identity) -> bool:
    """Whether what is wanted can be, or is, this run's artifact: nothing there was made from anything else."""
    inputs = job.identity["inputs"]
    if any(wanted["inputs"].get(name) != value for name, value in inputs.items()):
        return False
    if manifest := read_manifest(job.final):
        return not differences(manifest.made, wanted)
    return not (job.partial / BEGUN).is_file() or not differences(read_made(job.partial / BEGUN), wanted)


def share_rest(job: Job, other: Job) -> None:
    """What the first run has and this stage's result does not reach lies in the other run too."""
    reached = affected(depends_on(job.stage)[:1], job.config)  # any key of its own reaches what all of them do
    for name in STAGES:
        original, target = artifact_dir(job.config, name), artifact_dir(other.config, name)
        if name in reached or name in MEASURED or target.exists() or read_manifest(original) is None:
            continue
        require(job.config, name)
        with only_writer(target):
            artifacts.share_directory(original, target)


def run_job(job: Job, command: Command) -> None:
    if command.config.run.verify == "always":
        os.environ[ALWAYS] = "1"
    if command.clean and world_size() > 1:
        raise ConfigError("--clean works in one process: clean first, then launch several")
    if rank() > 0:
        if not command.dry_run:
            fetch_first(job, command.clean)
            follow(job)
    elif command.dry_run:
        state, details = foresee(job)
        if state == "up to date" and (changing := list_changing(job)):
            state, details = "stale", [f"after {', '.join(changing)}"]
        note(job.name, describe_state(state, details, command.clean))
    else:
        with only_writer(job.final):
            settle(job)
            fetch_first(job, command.clean)
            bring_up_to_date(job, command.clean)
            send_last(job)


def bring_up_to_date(job: Job, clean: bool) -> None:
    """Build what is not there, or with `clean` what is; leave what is up to date; refuse what differs."""
    state, details = status(job)
    if state == "up to date" and not clean:
        note(job.name, "up to date")
        return
    if state == "stale" and not clean:
        raise ArtifactError(refuse(job, job.final, details))
    if job.final.is_symlink():
        raise ArtifactError(
            f"{job.final} is a symbolic link to {job.final.resolve()}; remove the link, or move what it is"
        )
    require_own_files(job.final)
    for name in job.reads:
        require(job.config, name)
    if clean or not share(job):
        with announced(job, clean):
            make(job, clean)


# With run.remote


def fetch_first(job: Job, clean: bool) -> None:
    """What the stage reads and lacks here, and its own artifact where another machine has made it as it is asked."""
    remote = remote_of(job.config)
    if remote is None:
        return
    remote.bring_together([artifact_dir(job.config, name) for name in job.reads])
    compared = remote.compare(job.final)
    if clean or compared.there is None or compared.move not in ("fetch", "conflict"):
        return
    if different := differences(compared.there.made, job.identity):
        raise ArtifactError(refuse(job, remote.url_of(job.final), different))
    if compared.move == "conflict":
        raise ArtifactError(remote.refuse(job.final, compared))
    if rank() > 0:
        remote.wait(job.final)
    else:
        remote.fetch(job.final, compared)


def announced(job: Job, clean: bool) -> AbstractContextManager[None]:
    """Within: other machines can see that it is being made."""
    remote = remote_of(job.config)
    return remote.making(job.final, clean) if remote else nullcontext()


def send_last(job: Job) -> None:
    remote = remote_of(job.config)
    if remote is None:
        return
    compared = remote.compare(job.final)
    if compared.move in ("fetch", "conflict"):
        raise ArtifactError(remote.refuse(job.final, compared))
    if compared.move == "send" or remote.is_torn(job.final, compared):
        remote.send(job.final, compared)
    remote.remember(job.final, compared.here)


def foresee(job: Job) -> tuple[State | Literal["to fetch"], list[str]]:
    """The state of a stage as a dry run tells it: nothing is fetched."""
    state, details = status(job)
    remote = remote_of(job.config)
    if remote is None or state != "to run":
        return state, details
    there = remote.compare(job.final).there
    if there is None:
        return state, [name for name in details if remote.compare(artifact_dir(job.config, name)).there is None]
    different = [f"{text} ({remote.url_of(job.final)})" for text in differences(there.made, job.identity)]
    return ("stale", different) if different else ("to fetch", [remote.url_of(job.final)])


def share(job: Job) -> bool:
    """Take the artifact of `run.from_run` where it is the one that would come out here; whether it was taken."""
    if job.config.run.from_run is None or job.partial.exists():
        return False
    original = job.of_run(job.config.run.from_run).final
    manifest = read_manifest(original)
    if manifest is None or differences(manifest.made, job.identity):
        return False
    artifacts.require(original, command_of(job.stage))
    artifacts.share_directory(original, job.final)
    note(job.name, f"shared with {original}")
    return True


def require_own_files(directory: Path) -> None:
    """What is to be replaced holds nothing but what its manifest lists; a person's file in it is not ours to remove."""
    for path in artifacts.foreign_files(directory):
        raise ArtifactError(f"{path} is no file of this artifact, and --clean would remove it; move it away first")


def status(job: Job) -> tuple[State, list[str]]:
    """The state of a stage; of one to run the inputs that are missing, of a stale one what differs."""
    manifest = read_manifest(job.final)
    if manifest is None and job.final.exists():
        raise ArtifactError(f"{job.final} exists but is no artifact: it has no {MANIFEST}; move it away")
    asked = job.identity
    if manifest is None:
        return "to run", [name for name in job.reads if name not in asked["inputs"]]
    different = differences(manifest.made, asked)
    return ("stale" if different else "up to date"), different


def list_changing(job: Job) -> list[str]:
    """Of the stages that a finished artifact rests on those that this configuration makes, or makes anew."""
    model = job.config.analysis.model
    rests_on = needed_for(model, job.config) if job.stage == "analysis" and model in FAMILY_READS else job.reads
    return [name for name in rests_on if is_changing(name, job.config)]


def is_changing(stage: str, config: Config) -> bool:
    manifest, remote = read_manifest(artifact_dir(config, stage)), remote_of(config)
    if manifest is None and remote:  # it is to be fetched
        manifest = remote.compare(artifact_dir(config, stage)).there
    if manifest is None:
        return True
    knobs = {key: plain(value_at(config, key)) for key in depends_on(stage, config)}
    return manifest.config != knobs or any(is_changing(name, config) for name in reads(stage, config))


def describe_state(state: str, details: list[str], clean: bool) -> str:
    """What a dry run says."""
    text = "to run anew" if clean else state
    if not details:
        return text
    return f"{text} (after {', '.join(details)})" if state == "to run" else f"{text}: {'; '.join(details)}"


def refuse(job: Job, place: Path | str, different: list[str]) -> str:
    run = f"--run.dir ANOTHER --run.from_run {job.config.run.dir}"
    run += " --run.remote ANOTHER" if job.config.run.remote else ""
    another = "--sids.name ANOTHER" if job.stage == "sids" else run
    built_on_it = f", with what was built on it `{call_of(*RUN)} --from {job.stage} --clean`"
    anew = f"`{command_of(job.stage)} --clean`{'' if job.stage in BY_NAME else built_on_it}"
    anew += ", which replaces what other machines have" if job.config.run.remote else ""
    return refusal(place, different, another, f"{anew} (with your other flags)")


def make(job: Job, clean: bool) -> None:
    """Build in <stage>.partial, then publish."""
    wanted = job.identity
    begin(job, wanted, clean)
    start = time.perf_counter()
    try:
        statistics = job.build(job.config, job.partial)
    except BaseException:
        remove_unused(job.partial)
        raise
    seconds = time.perf_counter() - start
    made_from = job.identity  # with what the build itself brought, a download say
    made_from["inputs"] |= wanted["inputs"]  # what was read is what stood there at the beginning
    finish(job, made_from, statistics, seconds)
    publish(job)
    note(job.name, f"done in {seconds:.1f} s -> {job.final}")


def remove_unused(partial: Path) -> None:
    """What a build that failed before it wrote anything leaves behind."""
    if [path.name for path in partial.rglob("*") if not path.is_dir()] == [BEGUN]:
        remove_directories(partial)


def follow(job: Job) -> None:
    """A process beside rank 0: work along once rank 0 has begun this launch; what it writes is rank 0's to finish."""
    if status(job)[0] != "to run":
        return
    begun, launched, wanted = job.partial / BEGUN, time.time(), job.identity
    while time.time() < launched + 120:
        fresh = begun.exists() and begun.stat().st_mtime > launched - 30  # not that of a launch killed earlier
        if fresh and not differences(read_made(begun), wanted):
            job.build(job.config, job.partial)
            return
        if read_manifest(job.final):  # rank 0 shared it with another run
            return
        time.sleep(0.1)
    raise ArtifactError(f"rank 0 did not begin {job.partial} within two minutes; its own message says why")


def require(config: Config, stage: str) -> Manifest:
    """The manifest of a run's artifact, or an error that names the command that makes it."""
    return artifacts.require(artifact_dir(config, stage), command_of(stage))


def begin(job: Job, wanted: Identity, clean: bool) -> None:
    """Make <stage>.partial ready; what a killed run of the same settings left is kept, unfit scraps are removed."""
    begun, own = job.partial / BEGUN, {**wanted, "clean": clean}
    if job.partial.is_symlink() or job.partial.exists():
        have = read_begun(job)
        counted = {name: value for name, value in wanted["inputs"].items() if name in have["inputs"]}
        different = differences(have, wanted | {"inputs": counted})  # files that came since are no difference
        if not different and bool(have.get("clean")) == clean:
            left = has_content(job.partial)
            note(job.name, "going on from where it was stopped" if left else "stopped before, with nothing yet to keep")
            begun.touch()
            return
        if different and not clean and has_content(job.partial):
            raise ArtifactError(refuse(job, job.partial, different))
        shutil.rmtree(job.partial)
    job.partial.mkdir(parents=True)
    artifacts.write_json(begun, own)


def has_content(partial: Path) -> bool:
    """Whether more lies there than what it was begun with, which a kill may leave half written."""
    return any(path.name not in (BEGUN, f"{BEGUN}.tmp") for path in partial.iterdir())


def read_begun(job: Job) -> Made:
    """What <stage>.partial was begun with; a directory that says nothing of it is not ours to touch."""
    begun = job.partial / BEGUN
    if job.partial.is_symlink() or not job.partial.is_dir():
        raise ArtifactError(f"{job.partial} is no directory of this program; move it away")
    if begun.exists():
        return read_made(begun)
    if has_content(job.partial):
        raise ArtifactError(f"{job.partial} was not begun by this program: it has no {BEGUN}; move it away")
    return {"config": {}, "inputs": {}}


def settle(job: Job) -> None:
    """Finish what a kill left between the manifest and the last rename."""
    if job.replaced.is_symlink() or (job.replaced.exists() and not read_manifest(job.replaced)):
        raise ArtifactError(f"{job.replaced} is no artifact of this program: it has no {MANIFEST}; move it away")
    if job.replaced.exists() and not job.final.exists():
        os.replace(job.partial if read_manifest(job.partial) else job.replaced, job.final)
        (job.final / BEGUN).unlink(missing_ok=True)
    if job.replaced.exists():
        remove_directories(job.replaced)
    elif not job.final.exists() and read_manifest(job.partial):
        publish(job)


def publish(job: Job) -> None:
    """The rename that makes a finished artifact exist; one that it replaces is removed after it."""
    artifacts.swap_directory(job.partial, job.final, job.replaced)
    (job.final / BEGUN).unlink(missing_ok=True)
    if job.replaced.exists():
        remove_directories(job.replaced)


def finish(job: Job, made_from: Identity, statistics: dict[str, Any], seconds: float) -> None:
    """Write the manifest, last of all; the rename that follows makes the artifact exist."""
    files = artifacts.describe_files(job.partial)
    manifest = Manifest(
        stage=job.stage,
        format_version=artifacts.FORMAT_VERSION,
        fingerprint=artifacts.fingerprint_of(files),
        **made_from,
        files=files,
        statistics=statistics,
        packages={name: version for name in PACKAGES if (version := installed(name))},
        git_commit=git_commit(),
        seconds=round(seconds, 1),
    )
    artifacts.write_json(job.partial / MANIFEST, asdict(manifest))


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str:
    """The commit of the checkout that this code runs from, 'unknown' where it is installed."""
    if not (PACKAGE.parent / ".git").exists():
        return "unknown"
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PACKAGE, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
