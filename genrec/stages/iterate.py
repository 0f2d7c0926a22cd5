"""The loop: why does the model miss, what should help, run again from there, keep it if it is better on valid.

Reads   a run that `genrec run` has finished
Writes  <run>/rounds/<n>/, each a run of its own with its config.json; <run>/rounds/rounds.{json,txt}
        <run>/{evaluation,analysis}_valid/: advice and choice rest on valid rows, test rows are only reported

    genrec iterate --config quickstart --rounds 3
    genrec run --config quickstart --yes --iterate 3        the run first, then the loop

What the advice does not change is shared with the run before it (hard links). A killed loop goes on where it was when
the same command is given again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts, stage
from genrec.artifacts import read_json, read_manifest, remove_directories, write_json, write_text
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config
from genrec.errors import ArtifactError, ConfigError, exit_on_failure
from genrec.launch import note
from genrec.lock import only_writer
from genrec.pipeline import (
    ITERATE,
    MEASURED,
    RUN,
    STAGES,
    affected,
    artifact_dir,
    call_of,
    command_of,
    needed_for,
    on_split,
)
from genrec.remote import fetch_stages

if TYPE_CHECKING:
    from genrec.advice.plan import Plan
    from genrec.advice.rounds import LoopRound

# Beside artifacts and logs.
TABLE = "rounds.txt"
OWN_FILES = ("rounds.json", TABLE, "base.json", artifacts.ROUND_CONFIG, artifacts.RESULTS, artifacts.SUMMARY)
WRITTEN = (artifacts.ROUNDS, *(f"{name}_valid" for name in MEASURED))  # what a loop leaves in the run it begins from


@dataclass(frozen=True)
class LoopRun:
    """A run of the loop and the file that says all of it."""

    config: Config
    file: Path

    @property
    def directory(self) -> str:
        return str(self.config.run.dir)

    @property
    def on_valid(self) -> Config:
        return on_split(self.config, "valid")

    @property
    def scores(self) -> dict[str, Path]:
        """Where the analysed model's results lie, by split."""
        model = self.config.analysis.model
        return {
            "valid": artifact_dir(self.on_valid, "evaluation") / model,
            "test": artifact_dir(self.config, "evaluation") / model,
        }

    @property
    def analysis(self) -> Path:
        return artifact_dir(self.on_valid, "analysis")


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(call_of(*ITERATE), __doc__, "iterate"), argv)
    with exit_on_failure(command.config.run.dir):
        check_analysed_model(command.config)
        if command.dry_run:
            run_loop(command)
        else:
            with only_writer(command.config.run.dir / artifacts.ROUNDS):
                fetch_stages(command.config, needed_for(command.config.analysis.model, command.config))
                stage.require(command.config, "data")  # before anything is written into a mistyped directory
                if command.clean:
                    remove_rounds(command.config.run.dir)
                run_loop(command)


def remove_rounds(run_dir: Path) -> None:
    """What earlier loops left in a run, all of it or nothing: a file that no loop wrote stops it."""
    directories = [run_dir / name for name in WRITTEN]
    for directory in directories:
        for path in foreign_files(directory):
            raise ArtifactError(f"{path} is no file of this program, and --clean would remove it; move it away first")
    remove_directories(*directories)


def foreign_files(directory: Path) -> Iterator[Path]:
    """Files that neither an artifact lists nor the loop writes between them."""
    if directory.is_symlink() or directory.is_file():
        yield directory
    elif read_manifest(directory):
        yield from artifacts.foreign_files(directory)
    elif directory.is_dir() and not (directory / stage.BEGUN).exists() and directory.suffix != ".tmp":
        for path in sorted(directory.iterdir()):
            own = path.name in OWN_FILES or path.name.startswith(".") or path.suffix == ".log"
            if path.is_dir() or path.is_symlink() or not own:
                yield from foreign_files(path)


def check_analysed_model(config: Config) -> None:
    from genrec.advice.strategies import FAMILY

    model = config.analysis.model
    if model not in FAMILY or model not in config.evaluation.models or config.evaluation.split != "test":
        raise ConfigError(
            f"the loop improves one of {', '.join(FAMILY)} that is in evaluation.models, and reports test rows; "
            f"analysis.model is '{model}', evaluation.models {config.evaluation.models}, evaluation.split "
            f"{config.evaluation.split}"
        )


def require_finished_run(config: Config) -> None:
    """The loop begins from a run that is there."""
    for name in needed_for(config.analysis.model, config):
        if read_manifest(artifact_dir(config, name)) is None:
            raise ArtifactError(
                f"{artifact_dir(config, name)} is not there yet, and the loop begins from a finished run; run first: "
                f"{call_of(*RUN)} (with your other flags)"
            )


def run_loop(command: Command) -> None:
    """Round after round, each on the best run so far. A dry run goes as far as what is there allows."""
    from genrec.advice.rounds import list_rejected, make_next_plan

    config, dry_run = command.config, command.dry_run
    home = config.run.dir / artifacts.ROUNDS
    require_finished_run(config)
    best, rounds = LoopRun(config, home / "base.json"), []
    for number in range(1, config.iterate.rounds + 1):
        if dry_run and not read_manifest(best.analysis):
            note("iterate", f"round {number}: analysis of {best.directory} on valid rows, then what it advises")
            break
        report = read_analysis(best) if dry_run else analyze_run(best)
        plan = make_next_plan(report, list_rejected(rounds), config.iterate.advice)
        if plan is None:
            note("iterate", f"round {number}: nothing that was not tried before is advised for {best.directory}")
            break
        tried = make_round_run(best, plan, home / str(number))
        announce_round(number, best, tried, plan)
        if not dry_run:
            carry_out_plan(tried)
        elif not all(read_manifest(path) for path in tried.scores.values()):
            break
        rounds.append(compare_runs(number, best, tried, plan, report))
        best = tried if rounds[-1].kept else best
    if rounds or not dry_run:
        report_rounds(rounds, best, home, dry_run)
    elif (home / TABLE).is_file():
        print(f"\nWhat the last loop here found:\n\n{(home / TABLE).read_text(encoding='utf-8')}", end="")


def analyze_run(run: LoopRun) -> dict[str, Any]:
    """Why the run misses on valid rows; it is measured on both splits on the way."""
    measure_run(run)
    call_stage("analysis", run, *valid_flags(run))
    return read_analysis(run)


def read_analysis(run: LoopRun) -> dict[str, Any]:
    from genrec.advice.report import take_valid

    return take_valid(read_json(run.analysis / artifacts.BADCASE_REPORT))


def announce_round(number: int, best: LoopRun, tried: LoopRun, plan: Plan) -> None:
    names = ", ".join(advice.name for advice in plan.advice)
    changes = ", ".join(f"{key} {value}" for key, value in plan.values.items())
    shared, anew = split_stages(tried, plan)
    note("iterate", f"round {number}: {names} for {best.directory}: {changes}")
    note("iterate", f"round {number}: {', '.join(shared) or 'nothing'} as before; anew: {', '.join(anew)}, evaluation")


def make_round_run(best: LoopRun, plan: Plan, directory: Path) -> LoopRun:
    """The run that a round will make."""
    from genrec.advice.rounds import make_round_config

    return LoopRun(make_round_config(best.config, plan, directory), directory / artifacts.ROUND_CONFIG)


def carry_out_plan(tried: LoopRun) -> None:
    """All stages of the analysed model: what the plan does not touch is shared with the run before (run.from_run)."""
    for name in needed_for(tried.config.analysis.model, tried.config):
        call_stage(name, tried)
    measure_run(tried)


def split_stages(tried: LoopRun, plan: Plan) -> tuple[list[str], list[str]]:
    """The stages of the analysed model that the plan leaves as they are, and the others; each in order."""
    stages, changed = needed_for(tried.config.analysis.model, tried.config), affected(plan.values, tried.config)
    return [name for name in stages if name not in changed], [name for name in stages if name in changed]


def compare_runs(number: int, best: LoopRun, tried: LoopRun, plan: Plan, report: dict[str, Any]) -> LoopRound:
    from genrec.advice.rounds import judge_round
    from genrec.evaluation.report import read_report

    reports = {split: [read_report(run.scores[split]) for run in (best, tried)] for split in best.scores}
    return judge_round(number, plan, report, (best.directory, tried.directory), reports, best.config.run.seed)


def report_rounds(rounds: list[LoopRound], best: LoopRun, home: Path, dry_run: bool) -> None:
    from genrec.advice.rounds import describe_rounds, rounds_to_json

    text = describe_rounds(rounds, best.directory)
    if not dry_run:
        write_json(home / "rounds.json", rounds_to_json(rounds, best.directory))
        write_text(home / TABLE, text)
    print(f"\n{text}its configuration: {best.file}")


def measure_run(run: LoopRun) -> None:
    call_stage("evaluation", run)
    call_stage("evaluation", run, *valid_flags(run))


def valid_flags(run: LoopRun) -> list[str]:
    from genrec.advice.rounds import list_scored_models

    return ["--evaluation.split", "valid", "--evaluation.models", json.dumps(list_scored_models(run.config))]


def call_stage(name: str, run: LoopRun, *flags: str) -> None:
    """A stage's command, to its end; bars and errors go to the terminal, the rest to a log."""
    log = run.file.parent / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    write_json(run.file, run.config.model_dump(mode="json"))
    with log.open("a", encoding="utf-8") as file:
        words = [sys.executable, "-m", "genrec", STAGES[name].command, "--config", str(run.file), *flags]
        done = subprocess.run(words, stdout=file)
    if done.returncode:
        raise ArtifactError(
            f"`{command_of(name)} --config {run.file}` failed, see above; the same command goes on from there"
        )
