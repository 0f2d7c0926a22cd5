"""The whole pipeline, stage after stage: raw reviews -> a language model that recommends -> its place in a table.

    genrec run --config quickstart --yes      a laptop, minutes, real data
    genrec run                                the reference run (preset 0.5b): one GPU, a model hub

A finished stage is "up to date" and not run again; a killed run goes on where it was. Flags other than those of the
pipeline go to every stage: --config FILE, --clean, --sft.learning_rate 3e-4, or plainly where one stage alone has it:
--codebook_size 512.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from genrec.artifacts import OPTIMIZED_CONFIG, SUMMARY, read_manifest, write_text
from genrec.commandline import (
    Command,
    Program,
    options_program,
    parse,
    parse_strict,
    plain_names,
    spell_out,
    split_words,
    stage_program,
)
from genrec.config import Config, Section, comma_list, knob
from genrec.errors import ConfigError, exit_on_failure, exit_on_usage_error, suggest
from genrec.launch import note
from genrec.lines import relay_line
from genrec.pipeline import FAMILY_READS, REWARD_READS, STAGES, TEACHER_READS, artifact_dir, reads
from genrec.places import RUN_SAID
from genrec.remote import fetch_stages, inherit_remote
from genrec.stages.dialogue import ask_about


class Pipeline(Section):
    """Which stages are run."""

    yes: bool = knob(
        False,
        "ask nothing: run every stage that is not done or left out, with SIDs by sids.method; also when there is no "
        "terminal",
    )
    first: str = knob("", "begin with this stage", spellings=("from",))
    last: str = knob("", "end with this stage", spellings=("to",))
    skip: list[str] = knob([], "stages to leave out, as a,b")
    iterate: int = knob(0, "then so many rounds: change what is advised, run again from there, keep it if better", ge=0)

    seeds: list[Annotated[int, Field(ge=0)]] = knob(
        [], "one run a seed, in <run>/seeds/<seed>; what draws nothing is shared; ends with means and intervals"
    )

    split_skip = field_validator("skip", mode="before")(comma_list)


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    program = program_with_choices(stage_program("genrec run", __doc__, plain=plain_names()))
    choices = options_program("genrec run", __doc__, Pipeline)
    if "--help" in argv or "-h" in argv:
        parse(program, argv)
    with exit_on_usage_error():
        own, flags = split_words(choices, argv)
        chosen = parse_strict(choices, own).config
        stages = chosen_stages(chosen)
        flags = spell_out(program, flags)
    command = parse(program, flags)  # a typo anywhere ends here, before any work
    with exit_on_failure(command.config.run.dir):
        if not command.dry_run:  # what is left out may be there from an earlier call
            fetch_stages(command.config, [name for name in stages if name in chosen.skip])
    with exit_on_usage_error():
        check_one_run(command.config)
        if "sft" in stages and "sft" not in chosen.skip:
            check_teacher(set(chosen.skip) & set(stages), command.config)
    with exit_on_failure(command.config.run.dir):
        check_curves(stages, chosen, command)
        if chosen.seeds:
            walk_seeds(stages, chosen, command, flags)
        else:
            walk(stages, chosen, command, flags)


def program_with_choices(program: Program) -> Program:
    """The pipeline's own flags above all knobs in --help, and among the names that a typo is held against."""
    from dataclasses import replace

    return replace(program, also=Pipeline)


def chosen_stages(chosen: Pipeline) -> list[str]:
    """The stages between --from and --to; those to skip are still among them, for what depends on them."""
    names = list(STAGES)
    for name in (chosen.first, chosen.last, *chosen.skip):
        if name and name not in names:
            raise ConfigError(f"no stage '{name}'{suggest(name, names)}; there are: {', '.join(names)}")
    begin = names.index(chosen.first) if chosen.first else 0
    end = names.index(chosen.last) if chosen.last else len(names) - 1
    if begin > end:
        raise ConfigError(f"--to {chosen.last} comes before --from {chosen.first}")
    return names[begin : end + 1]


def check_curves(stages: list[str], chosen: Pipeline, command: Command) -> None:
    """A tracker that is not installed is told before the first stage, not hours later before the training."""
    from genrec.runtime.curves import check_installed

    if not command.dry_run and {"sft", "rl"} & set(stages) - set(chosen.skip):
        check_installed(command.config.run.tracker)


def check_one_run(config: Config) -> None:
    """All stages of a pipeline belong to one run."""
    if config.run.when_changed != "refuse":
        raise ConfigError(
            f"--run.when_changed {config.run.when_changed} is for one stage's command; the pipeline begins a run from "
            f"another by --run.dir NEW --run.from_run {config.run.dir}"
        )


def check_teacher(skipped: set[str], config: Config) -> None:
    """SFT with other targets is another model, so a teacher that is left out is not passed over."""
    for name, weight in config.sft.teacher.items():
        for stage in skipped & set(TEACHER_READS.get(name, ())):
            if weight and not read_manifest(artifact_dir(config, stage)):
                raise ConfigError(
                    f"sft.teacher {name} asks {stage}, which is to be skipped and is not there from an earlier call; "
                    f"run {stage} too, or --sft.teacher item_knn, which asks no stage, or --sft.teacher '' for none"
                )


def walk_seeds(stages: list[str], chosen: Pipeline, command: Command, flags: list[str]) -> None:
    """The pipeline once a seed, each in a run of its own that begins from the first one's; then their means."""
    from genrec.evaluation.runs import describe_seeds, read_run

    home = command.config.run.dir / "seeds"
    places = {seed: home / str(seed) for seed in dict.fromkeys(chosen.seeds)}
    first = next(iter(places.values()))
    for seed, place in places.items():
        own = ["--run.seed", str(seed), "--run.dir", str(place)]
        if remote := inherit_remote(command.config.run, place):
            own += ["--run.remote", remote]
        begin = ["--run.from_run", str(first)] if place != first else []
        note("run", f"seed {seed}, in {place}")
        seeded = [*drop_flags(flags, "--run.dir", "--run.seed", "--run.from_run", "--run.remote"), *own, *begin]
        walk(stages, chosen, parse(stage_program("genrec run", __doc__), seeded), seeded)
    if not command.dry_run:
        text = describe_seeds({seed: read_run(place) for seed, place in places.items()})
        write_text(home / SUMMARY, text)
        print(f"\n{text}\nThis text: {home / SUMMARY}")


def drop_flags(flags: list[str], *names: str) -> list[str]:
    """The same without these flags and their values."""
    kept, rest = [], iter(flags)
    for word in rest:
        if word in names:
            next(rest, None)
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept


def walk(stages: list[str], chosen: Pipeline, command: Command, flags: list[str]) -> None:
    """Stage after stage, in processes of their own; then the advice, then the rounds."""
    ask = sys.stdin.isatty() and not chosen.yes and not command.dry_run
    run_dir, skipped = command.config.run.dir, set(chosen.skip)
    for name in stages:
        config = parse_strict(stage_program("genrec run", __doc__), flags).config
        answer = ask_about(name, config, flags) if ask and name not in skipped else []
        if name in skipped or answer is None:
            flags = [*flags, *leave_out(name, config, skipped)]
            continue
        flags = [*flags, *answer]
        call(STAGES[name].command, flags, run_dir / "logs" / f"{name}.log", command.dry_run)
        if name == "analysis" and not command.dry_run:
            advise(config)
    if not command.dry_run:
        say_next(run_dir, command.config.run.remote)
    if chosen.iterate:
        rounds = ["--rounds", str(chosen.iterate)]
        call("iterate", [*flags, *rounds], run_dir / "logs" / "iterate.log", command.dry_run)


def leave_out(name: str, config: Config, skipped: set[str]) -> list[str]:
    """Flags by which later stages do without a skipped one: the table's rows, and RL where its reward asks it."""
    skipped.add(name)
    note(name, "skipped")
    if read_manifest(artifact_dir(config, name)):
        return []  # an earlier run of it is there
    if "sft" not in skipped:
        check_teacher({name}, config)
    asking = [reward for reward in config.rl.reward_type if name in REWARD_READS.get(reward, ())]
    if asking and "rl" not in skipped:
        skipped.add("rl")
        note("rl", f"skipped too: its reward {asking[0]} asks {name}; --rl.reward_type ranking needs no other stage")
    if name not in reads("evaluation", config):
        return []
    rest = [model for model in config.evaluation.models if name not in FAMILY_READS[model]]
    return ["--evaluation.models", ",".join(rest)]


def call(command: str, flags: list[str], log: Path, dry_run: bool) -> None:
    """One command in a process of its own: its lines on the screen and in a log, bars and errors on the screen."""
    words = [sys.executable, "-m", "genrec", command, *flags]
    environment = {**os.environ, RUN_SAID: str(log.parent.parent)}  # our own first line has named it
    if dry_run:
        words += [] if "--dry-run" in flags else ["--dry-run"]
        finish(subprocess.run(words, env=environment).returncode)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        )
        try:
            for line in process.stdout:
                relay_line(line)
                file.write(line)
        except BaseException:  # a stage does not outlive its pipeline
            process.terminate()
            raise
        finally:
            code = process.wait()
    finish(code)


def finish(code: int) -> None:
    """A command that failed has said why; the pipeline ends with its code."""
    if code:
        raise SystemExit(code if code > 0 else 128 - code)


def advise(config: Config) -> None:
    """What the analysis advises, as an overlay of the configuration."""
    report, overlay = artifact_dir(config, "analysis"), config.run.dir / OPTIMIZED_CONFIG
    flags = ["--auto_recommend", "--badcase_report", str(report), "--output_config", str(overlay)]
    call("advise", flags, config.run.dir / "logs" / "advice.log", dry_run=False)


def say_next(run_dir: Path, remote: str | None = None) -> None:
    """Where a language model is there, how it is asked, with a user of the data; on other machines too."""
    from genrec.store import RunStore

    if read_manifest(run_dir / "data") is None or not any(read_manifest(run_dir / name) for name in ("sft", "rl")):
        return
    user = str(RunStore(run_dir).sequences().user_id[0])
    print(f"Recommend: genrec recommend --run.dir {shlex.quote(str(run_dir))} --user {shlex.quote(user)}")
    if remote:
        place = f"--run.dir DIR --run.remote {shlex.quote(remote)}"
        print(f"Elsewhere: genrec recommend {place} --user {shlex.quote(user)}")
