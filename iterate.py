"""The loop: why does the model miss, what should help, run again from there, keep it if it is better on valid.

Reads   a run that pipeline_0.5b.sh has finished
Writes  <run>/rounds/<n>/, each a run of its own with its config.json; <run>/rounds/rounds.{json,txt}
        <run>/{evaluation,analysis}_valid/: advice and choice rest on valid rows, test rows are only reported

    python iterate.py --config config/quickstart.yaml --rounds 3
    bash pipeline_0.5b.sh --config config/quickstart.yaml --yes --iterate 3        the run first, then the loop

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
from genrec.artifacts import ArtifactError, read_manifest, write_json, write_text
from genrec.commandline import Command, parse
from genrec.config import ROOT, STAGE_OF_REWARD, Config, ConfigError
from genrec.stage import STAGES, note, stage_dir


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
        return self.config.model_copy(update={"evaluate": self.config.evaluate.model_copy(update={"split": "valid"})})

    @property
    def scores(self) -> dict[str, Path]:
        """Where the analysed model's results lie, by split."""
        model = self.config.analysis.model
        return {
            "valid": stage_dir(self.on_valid, "evaluation") / model,
            "test": stage_dir(self.config, "evaluation") / model,
        }

    @property
    def analysis(self) -> Path:
        return stage_dir(self.on_valid, "analysis")


def main() -> None:
    command = parse(section="iterate", doc=__doc__)
    with stage.one_line_failures(command.config.run.dir):
        check(command.config)
        if command.clean and not command.dry_run:
            stage.remove(*(command.config.run.dir / name for name in WRITTEN))
        iterate(command)


WRITTEN = (artifacts.ROUNDS, *(f"{name}_valid" for name in stage.MEASURED))


def check(config: Config) -> None:
    from genrec.evaluation.strategies import FAMILY

    model = config.analysis.model
    if model not in FAMILY or model not in config.evaluate.models or config.evaluate.split != "test":
        raise ConfigError(
            f"the loop improves one of {', '.join(FAMILY)} that is in evaluate.models, and reports test rows; "
            f"analysis.model is '{model}', evaluate.models {config.evaluate.models}, evaluate.split "
            f"{config.evaluate.split}"
        )


def iterate(command: Command) -> None:
    """Round after round, each on the best run so far. A dry run goes as far as what is there allows."""
    from genrec.evaluation.rounds import next_plan, rejected

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
    from genrec.evaluation.rounds import round_config

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
        share(stage_dir(best.config, name), stage_dir(tried.config, name))
    for name in [*shared, *anew]:
        call(name, tried)
    measure(tried)


def divided(best: Run, plan: Any) -> tuple[list[str], list[str]]:
    """The stages of the analysed model that the plan leaves as they are, and the others; each in order."""
    from genrec.evaluation.rounds import stages_for, unchanged
    from genrec.models.families import FAMILIES

    model, rewards = best.config.analysis.model, best.config.rl.reward_type
    reads = FAMILIES[model].reads
    if "rl" in reads:
        reads += tuple(STAGE_OF_REWARD[name] for name in rewards if name in STAGE_OF_REWARD)
    stages = stages_for(reads)
    shared = unchanged(stages, plan)
    return shared, [name for name in stages if name not in shared]


def judged(number: int, best: Run, tried: Run, plan: Any, report: dict[str, Any]) -> Any:
    from genrec.evaluation.report import read_report
    from genrec.evaluation.rounds import judge

    reports = {split: [read_report(run.scores[split]) for run in (best, tried)] for split in best.scores}
    return judge(number, plan, report, (best.directory, tried.directory), reports, best.config.run.seed)


def conclude(rounds: list[Any], best: Run, home: Path, dry_run: bool) -> None:
    from genrec.evaluation.rounds import as_json, show

    if not dry_run:
        write_json(home / "rounds.json", as_json(rounds, best.directory))
        write_text(home / "rounds.txt", show(rounds, best.directory))
    print(f"\n{show(rounds, best.directory)}its configuration: {best.file}")


def measure(run: Run) -> None:
    call("evaluation", run)
    call("evaluation", run, *valid_flags(run))


def valid_flags(run: Run) -> list[str]:
    from genrec.evaluation.rounds import scored

    return ["--evaluate.split", "valid", "--evaluate.models", json.dumps(scored(run.config))]


def call(name: str, run: Run, *flags: str) -> None:
    """A stage's script, to its end; bars and errors go to the terminal, the rest to a log."""
    log = run.file.parent / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    write_json(run.file, run.config.model_dump(mode="json"))
    script = STAGES[name].script
    with log.open("a", encoding="utf-8") as file:
        command = [sys.executable, str(ROOT / script), "--config", str(run.file), *flags]
        done = subprocess.run(command, stdout=file)
    if done.returncode:
        raise ArtifactError(f"{script} --config {run.file} failed, see above; the same command goes on from there")


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


if __name__ == "__main__":
    main()
