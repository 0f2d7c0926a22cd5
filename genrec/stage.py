"""How a stage runs: read artifacts, write one artifact, be killed at any moment and go on.

with nothing there            build into <stage>.partial/, write the manifest last, rename to <stage>/
same config and inputs        "up to date", nothing is touched
other config or inputs        refused, naming what differs and the ways on
<stage>.partial/ of a kill    resumed by the stage itself when config and inputs are the same
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from genrec import artifacts
from genrec.artifacts import ArtifactError, Manifest, read_manifest
from genrec.commandline import Command, parse
from genrec.config import ROOT, Config, ConfigError, result_knobs

BEGUN = ".begun.json"  # inside <stage>.partial: what it was begun with
PACKAGES = ("numpy", "polars", "torch", "transformers", "sentence-transformers", "faiss-cpu")


class Stage(NamedTuple):
    script: str
    sections: tuple[str, ...]  # of the config, that its result depends on
    reads: tuple[str, ...]  # stages


# In the order of the pipeline.
STAGES: dict[str, Stage] = {
    "data": Stage("data/prepare.py", ("data",), ()),
    "embeddings": Stage("rq/text2emb/amazon_text2emb.py", ("embeddings",), ("data",)),
    "sids": Stage("rq/generate_indices.py", ("sids",), ("data", "embeddings")),
    "convert": Stage("convert_dataset.py", ("convert",), ("data", "sids")),
    "sequential": Stage("sequential.py", ("sequential",), ("data",)),
    "sft": Stage("sft.py", ("sft",), ("data", "sids")),
    "rl": Stage("rl.py", ("rl",), ("data", "sids", "sft")),
    "evaluation": Stage("evaluate.py", ("evaluate",), ("data",)),  # and what its models read, see evaluate.py
    "analysis": Stage("analyze_badcase.py", ("analysis",), ("data",)),  # and one model's predictions, one artifact each
}

MEASURED = ("evaluation", "analysis")  # their artifacts belong to the rows of evaluate.split

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
FULL_DISK = ("No space left on device", "inline_container")  # safetensors' and torch's words for it

Build = Callable[[Config, Path], dict[str, Any]]  # (config, partial directory) -> statistics
# Fingerprints of what is read outside the run, by file name; under a stage's name it stands in for that stage.
Sources = Callable[[Config], dict[str, str]]
Identity = dict[str, dict[str, Any]]  # {"config": {knob: value}, "inputs": {name: fingerprint}}


def main(stage: str, section: str, doc: str, build: Build, sources: Sources | None = None) -> Command:
    """The `__main__` of a stage script: parse, then `run`; every expected failure ends in one line and exit 1."""
    command = parse(section=section, doc=doc)
    with one_line_failures(command.config.run.dir):
        run(stage, command, build, sources)
    return command


@contextmanager
def one_line_failures(directory: Path) -> Iterator[None]:
    """Within: every expected failure ends the program in one line; what we did not expect keeps its traceback."""
    try:
        yield
    except (ArtifactError, ConfigError) as error:
        fail(str(error))
    except Exception as error:
        if not (cause := unwritable(error)):
            raise
        ways_on = "free space there or write elsewhere. Nothing finished was touched."
        fail(f"cannot write under {directory}: {cause}; {ways_on}")
    except KeyboardInterrupt:
        fail("stopped; the same command goes on from here", code=130)


def unwritable(error: Exception) -> str:
    """What keeps us from writing, or '' for any other error; torch and safetensors wrap a full disk in their own."""
    if isinstance(error, OSError):
        reason = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
        return reason if error.errno in UNWRITABLE else ""
    text = str(error)
    return "No space left on device" if any(sign in text for sign in FULL_DISK) else ""


def fail(message: str, code: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)


def run(stage: str, command: Command, build: Build, sources: Sources | None = None) -> None:
    """One stage, from what is there to what should be there. `sources` gives fingerprints of files outside the run."""
    config, final = command.config, stage_dir(command.config, stage)
    partial = final.with_name(final.name + ".partial")
    if command.clean and not command.dry_run:
        if processes() > 1:
            raise ConfigError("--clean works in one process: clean first, then launch several")
        remove(final, partial)
    wanted = identity(config, stage, sources)
    state, reason = status(stage, final, wanted)
    if rank() > 0:
        if state == "to run" and not command.dry_run:
            follow(config, partial, wanted, build)
        return
    if command.dry_run:
        note(stage, f"{state}{reason}")
        return
    if state == "up to date":
        note(stage, "up to date")
        return
    if state == "stale":
        raise ArtifactError(refusal(stage, final, reason))
    given = sources(config) if sources else {}
    for name in STAGES[stage].reads:
        if name not in given:
            require(config, name)
    if read_manifest(partial):  # killed between the manifest and the rename
        publish(partial, final)
        return run(stage, command, build, sources)
    make(stage, config, build, sources, wanted)


def make(stage: str, config: Config, build: Build, sources: Sources | None, wanted: Identity) -> None:
    """Build in <stage>.partial, then publish."""
    final = stage_dir(config, stage)
    partial = final.with_name(final.name + ".partial")
    begin(stage, partial, wanted)
    start = time.perf_counter()
    statistics = build(config, partial)
    seconds = time.perf_counter() - start
    made_from = identity(config, stage, sources)  # with what the build itself brought, a download say
    made_from["inputs"] |= wanted["inputs"]  # what was read is what stood there at the beginning
    finish(stage, partial, made_from, statistics, seconds)
    publish(partial, final)
    note(stage, f"done in {seconds:.1f} s -> {final}")


def rank() -> int:
    """Number of this process in a distributed launch (torchrun), 0 when alone."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its own machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes() -> int:
    """How many processes a distributed launch (torchrun) runs, 1 when alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follow(config: Config, partial: Path, wanted: Identity, build: Build) -> None:
    """A process beside rank 0: work along once rank 0 has begun this launch; what it writes is rank 0's to finish."""
    begun, launched = partial / BEGUN, time.time()
    while time.time() < launched + 120:
        fresh = begun.exists() and begun.stat().st_mtime > launched - 30  # not that of a launch killed earlier
        if fresh and not differing(json.loads(begun.read_text()), wanted):
            build(config, partial)
            return
        time.sleep(0.1)
    raise ArtifactError(f"rank 0 did not begin {partial} within two minutes; its own message says why")


def stage_dir(config: Config, stage: str) -> Path:
    """Where an artifact lies. What is measured on valid rows stands beside what is measured on test rows."""
    name = f"{stage}_valid" if stage in MEASURED and config.evaluate.split == "valid" else stage
    if stage == "analysis":
        return config.run.dir / name / Path(config.analysis.model).name
    return config.run.dir / name


def require(config: Config, stage: str) -> Manifest:
    """The manifest of a run's artifact, or an error that names the script that makes it."""
    return artifacts.require(stage_dir(config, stage), STAGES[stage].script)


def identity(config: Config, stage: str, sources: Sources | None) -> Identity:
    """What the artifact depends on: its knobs and seed, and the fingerprints of what it reads (where that exists)."""
    sections, reads = STAGES[stage].sections, STAGES[stage].reads
    knobs = {f"{name}.{key}": value for name in sections for key, value in result_knobs(getattr(config, name)).items()}
    inputs = dict(sources(config)) if sources else {}
    for name in reads:
        if name not in inputs and (manifest := read_manifest(stage_dir(config, name))):
            inputs[name] = manifest.fingerprint
    return {"config": {**knobs, "run.seed": config.run.seed}, "inputs": inputs}


def status(stage: str, final: Path, wanted: Identity) -> tuple[str, str]:
    """('to run' | 'up to date' | 'stale', reason) of a stage."""
    manifest = read_manifest(final)
    if manifest is None and final.exists():
        raise ArtifactError(f"{final} exists but is no artifact: it has no {artifacts.MANIFEST}; move it away")
    if manifest is None:
        missing = [name for name in STAGES[stage].reads if name not in wanted["inputs"]]
        return "to run", f" (after {', '.join(missing)})" if missing else ""
    differences = differing({"config": manifest.config, "inputs": manifest.inputs}, wanted)
    return ("stale", f": {'; '.join(differences)}") if differences else ("up to date", "")


def differing(have: Identity, want: Identity) -> list[str]:
    """Sentences for each knob or input that differs; an input that is no longer on disk cannot differ."""
    found = [
        f"{key} is {have['config'].get(key)!r} there, {want['config'].get(key)!r} asked"
        for key in sorted(have["config"].keys() | want["config"].keys())
        if have["config"].get(key) != want["config"].get(key)
    ]
    return found + [
        f"{key} is now {value}, it was made from {have['inputs'].get(key, 'none')}"
        for key, value in sorted(want["inputs"].items())
        if have["inputs"].get(key) != value
    ]


def refusal(stage: str, final: Path, reason: str) -> str:
    return (
        f"{final} was made with other settings{reason}. Ways on: --run.dir ANOTHER for a new run beside it, "
        f"or `python {STAGES[stage].script} --clean` (with your other flags) to make it anew"
    )


def begin(stage: str, partial: Path, wanted: Identity) -> None:
    """Make <stage>.partial ready; what a killed run of the same settings left is kept, unfit scraps are removed."""
    begun = partial / BEGUN
    if partial.exists():
        have = json.loads(begun.read_text()) if begun.exists() else None
        counted = {name: value for name, value in wanted["inputs"].items() if have and name in have["inputs"]}
        if have and not differing(have, wanted | {"inputs": counted}):  # files that came since are no difference
            note(stage, "going on from where it was stopped")
            begun.touch()
            return
        if have and any(path != begun for path in partial.iterdir()):
            raise ArtifactError(refusal(stage, partial, ": " + "; ".join(differing(have, wanted))))
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    artifacts.write_json(begun, wanted)


def publish(partial: Path, final: Path) -> None:
    """The rename that makes a finished artifact exist."""
    os.replace(partial, final)
    (final / BEGUN).unlink(missing_ok=True)


def finish(stage: str, partial: Path, made_from: Identity, statistics: dict[str, Any], seconds: float) -> None:
    """Write the manifest, last of all; the rename that follows makes the artifact exist."""
    files = artifacts.describe_files(partial)
    manifest = Manifest(
        stage=stage,
        format_version=artifacts.FORMAT_VERSION,
        fingerprint=artifacts.fingerprint_of(files),
        **made_from,
        files=files,
        statistics=statistics,
        packages={name: version for name in PACKAGES if (version := installed(name))},
        git_commit=git_commit(),
        seconds=round(seconds, 1),
    )
    artifacts.write_json(partial / artifacts.MANIFEST, asdict(manifest))


def remove(*directories: Path) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def note(stage: str, text: str) -> None:
    """One line a phase, on rank 0 only."""
    if rank() == 0:
        print(f"{stage}: {text}", flush=True)
