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
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.artifacts import read_manifest, write_json, write_text
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config
from genrec.errors import ArtifactError, ConfigError, exit_on_failure
from genrec.launch import note
from genrec.pipeline import ITERATE, MEASURED, STAGES, affected, artifact_dir, call_of, command_of, needed_for


@dataclass(frozen=True)
class Run:
    """A run and the file that says all of it."""

    config: Config
    file: Path

    @property
    def directory(self) -> str:
        return str(self.config.run.dir)

    @property
    def on_valid(self) -> Config:
        return self.config.model_copy(
            update={"evaluation": self.config.evaluation.model_copy(update={"split": "valid"})}
        )

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
        check(command.config)
        if command.clean and not command.dry_run:
            stage.remove(*(command.config.run.dir / name for name in WRITTEN))
        iterate(command)


WRITTEN = (artifacts.ROUNDS, *(f"{name}_valid" for name in MEASURED))


def check(config: Config) -> None:
    from genrec.advice.strategies import FAMILY

    model = config.analysis.model
    if model not in FAMILY or model not in config.evaluation.models or config.evaluation.split != "test":
        raise ConfigError(
            f"the loop improves one of {', '.join(FAMILY)} that is in evaluation.models, and reports test rows; "
            f"analysis.model is '{model}', evaluation.models {config.evaluation.models}, evaluation.split "
            f"{config.evaluation.split}"
        )


def iterate(command: Command) -> None:
    """Round after round, each on the best run so far. A dry run goes as far as what is there allows."""
    from genrec.advice.rounds import next_plan, rejected

    config, dry_run = command.config, command.dry_run
    home = config.run.dir / artifacts.ROUNDS
    best, rounds = Run(config, home / "base.json"), []
    for number in range(1, config.iterate.rounds + 1):
        if dry_run and not read_manifest(best.analysis):
            return note("iterate", f"round {number}: analysis of {best.directory} on valid rows, then what it advises")
        report = artifacts.read_json(best.analysis / artifacts.BADCASE_REPORT) if dry_run else analysed(best)
        plan = next_plan(report, rejected(rounds), config.iterate.advice)
        if plan is None:
            note("iterate", f"round {number}: nothing that was not tried before is advised for {best.directory}")
            break
        tried = announced(number, best, plan, home)
        if not dry_run:
            carry_out(best, tried, plan)
        elif not all(read_manifest(path.parent) for path in tried.scores.values()):
            return
        rounds.append(judged(number, best, tried, plan, report))
        best = tried if rounds[-1].kept else best
    conclude(rounds, best, home, dry_run)


def analysed(run: Run) -> dict[str, Any]:
    """Why the run misses on valid rows; it is measured on both splits on the way."""
    measure(run)
    call("analysis", run, *valid_flags(run))
    return artifacts.read_json(run.analysis / artifacts.BADCASE_REPORT)


def announced(number: int, best: Run, plan: Any, home: Path) -> Run:
    """The run a round will make, said before it is made."""
    from genrec.advice.rounds import round_config

    names = ", ".join(advice.name for advice in plan.advice)
    changes = ", ".join(f"{key} {value}" for key, value in plan.values.items())
    shared, anew = divided(best, plan)
    note("iterate", f"round {number}: {names} for {best.directory}: {changes}")
    note("iterate", f"round {number}: {', '.join(shared) or 'nothing'} as before; anew: {', '.join(anew)}, evaluation")
    directory = home / str(number)
    return Run(round_config(best.config, plan, directory), directory / artifacts.ROUND_CONFIG)


def carry_out(best: Run, tried: Run, plan: Any) -> None:
    """All stages of the analysed model: what the plan does not touch comes from the run before, the rest is made."""
    shared, anew = divided(best, plan)
    for name in shared:
        share(artifact_dir(best.config, name), artifact_dir(tried.config, name))
    for name in [*shared, *anew]:
        call(name, tried)
    measure(tried)


def divided(best: Run, plan: Any) -> tuple[list[str], list[str]]:
    """The stages of the analysed model that the plan leaves as they are, and the others; each in order."""
    stages, changed = needed_for(best.config.analysis.model, best.config), affected(plan.values, best.config)
    return [name for name in stages if name not in changed], [name for name in stages if name in changed]


def judged(number: int, best: Run, tried: Run, plan: Any, report: dict[str, Any]) -> Any:
    from genrec.advice.rounds import judge
    from genrec.evaluation.report import read_report

    reports = {split: [read_report(run.scores[split]) for run in (best, tried)] for split in best.scores}
    return judge(number, plan, report, (best.directory, tried.directory), reports, best.config.run.seed)


def conclude(rounds: list[Any], best: Run, home: Path, dry_run: bool) -> None:
    from genrec.advice.rounds import as_json, show

    if not dry_run:
        write_json(home / "rounds.json", as_json(rounds, best.directory))
        write_text(home / "rounds.txt", show(rounds, best.directory))
    print(f"\n{show(rounds, best.directory)}its configuration: {best.file}")


def measure(run: Run) -> None:
    call("evaluation", run)
    call("evaluation", run, *valid_flags(run))


def valid_flags(run: Run) -> list[str]:
    from genrec.advice.rounds import scored

    return ["--evaluation.split", "valid", "--evaluation.models", json.dumps(scored(run.config))]


def call(name: str, run: Run, *flags: str) -> None:
    """A stage's script, to its end; bars and errors go to the terminal, the rest to a log."""
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


def share(source: Path, target: Path) -> None:
    """A finished artifact in a second run: hard links, or copies where the file system has none. Whole or not there."""
    if target.exists():
        return
    beside = target.with_name(target.name + ".sharing")
    stage.remove(beside)
    shutil.copytree(source, beside, copy_function=link)
    os.replace(beside, target)


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
