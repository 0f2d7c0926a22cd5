"""A run goes on with new events: they join its data, its semantic IDs grow, its model learns on; what that was worth.

Reads   a finished run with sft (--from_run), a table of new events (--events) and one of new items (--items)
Writes  a run of its own (--run.dir, <from_run>_updated without it): data, embeddings, sids, sft, with --with_rl rl too;
        update.txt, update.json: drift, and the models compared; config.json, for every other command

    genrec update --from_run outputs/shop --events december.csv --dry-run      what would join, how far it drifted
    genrec update --from_run outputs/shop --events december.csv --items new_items.csv --run.dir outputs/shop_december
    genrec update --from_run outputs/shop_december --events january.csv        and so on
    genrec recommend --config outputs/shop_december/config.json --user u17     the updated run is a run like others

Old events, users, items and semantic IDs stay as they are. Of the new targets the first 80% by time are trained on, the
next 10% choose the best step, the newest 10% measure. Training goes on from the run's weights on all that is new and on
a replay of what was learned; all knobs are the run's own, unless a flag says otherwise (--sft.num_epochs 2). Test rows
of the runs before are never trained on: they tell what was forgotten. Every model is compared with the run as it was,
row by row. A killed update goes on where it was when the same command is given again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genrec import artifacts, stage
from genrec.artifacts import read_manifest, write_json, write_text
from genrec.commandline import Command, parse, read_words, stage_program
from genrec.config import Config, Sft, section_schema
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error
from genrec.guard import refusal
from genrec.launch import note, world_size
from genrec.lock import only_writer
from genrec.pipeline import RUN, UPDATE, artifact_dir, call_of, keep_word, reads
from genrec.remote import inherit_remote

if TYPE_CHECKING:
    from genrec.data.events import Shop
    from genrec.data.joining import Joined
    from genrec.evaluation.update_table import Compared, Measured
    from genrec.stages.updating import Begin

COMPARED = "compared"  # of an updated run: the rows that its models are compared on, a run each
ANEW = "anew"  # the run that was trained anew
SAID_BY = {  # keys that the update itself sets -> by which flag
    "sft.base_model": "--from_run",
    "sft.train_from_scratch": "--from_run",
    "sft.replay": "--replay",
    "rl.model_path": "--with_rl",
}
AS_IT_WAS, GROWN, UPDATED, WITH_RL, TRAINED_ANEW = "as it was", "SIDs grown", "updated", "updated, RL", "trained anew"


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    program = replace(stage_program(call_of(*UPDATE), __doc__, "update"), in_run=False)
    if "--help" in argv or "-h" in argv:
        parse(program, argv)
    with exit_on_usage_error():
        run = find_named_run(read_words(program, argv).tree)
    with exit_on_failure(run), TemporaryDirectory() as scratch:
        begin, file = find_begin_once(run), Path(scratch) / "settings.json"
        write_json(file, read_settings(begin))
        command = parse(program, ["--config", str(file), *argv])
        command = command._replace(config=settle(command, begin))
        check_command(command, begin)
        update(command, begin)


def find_named_run(tree: dict[str, Any]) -> Path:
    named = tree.get("update", {}).get("from_run")
    if not named:
        raise ConfigError("--from_run is required: the run to go on from, such as outputs/quickstart")
    return Path(named)


def find_begin_once(run: Path) -> Begin:
    from genrec.stages.updating import find_begin

    return find_begin(run)


# Configuration


def read_settings(begin: Begin) -> dict[str, Any]:
    """What the run's stages were made with, as a tree of sections: its own settings stand in its manifests."""
    tree: dict[str, Any] = {}
    sids = begin.store.path("sids")
    places = [begin.run / name for name in ("data", "embeddings", "sequential", "rl", "sft")] + [sids]
    places += [path.parent for path in sorted(begin.run.glob(f"evaluation/{begin.model.name}/{artifacts.MANIFEST}"))]
    for manifest in filter(None, map(read_manifest, places)):
        for key, value in manifest.config.items():
            section, _, name = key.partition(".")
            schema = section_schema(Config, section)
            if schema and name in schema.model_fields:
                tree.setdefault(section, {})[name] = value
    evaluation = tree.setdefault("evaluation", {})
    evaluation.setdefault("normalization", tree["sft"]["normalization"])
    if sids.name != keep_word(tree["sids"]["method"]):
        tree["sids"]["name"] = sids.name
    return tree


def settle(command: Command, begin: Begin) -> Config:
    """The configuration of the updated run: its SFT begins from the run's weights, with the replay."""
    config = command.config
    for key, other in SAID_BY.items():
        if command.origins.get(key, "").startswith("--"):
            raise ConfigError(f"--{key} is what {other} says here: SFT goes on from {begin.model}; leave it out")
    named = "run.dir" in command.origins
    home = config.run.dir if named else begin.run.with_name(f"{begin.run.resolve().name}_updated")
    taught = {"base_model": str(begin.model), "train_from_scratch": False, "replay": config.update.replay}
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"dir": home}),
            "sft": config.sft.model_copy(update=taught),
            "rl": config.rl.model_copy(update={"model_path": None}),
        }
    )


def settle_anew(config: Config, begin: Begin) -> Config:
    """The settings of a run trained anew on the same rows: those with which the first run of the line was."""
    before = begin.run / artifacts.ANEW_CONFIG
    sft = read_manifest(begin.run / "sft")
    assert sft is not None, "an update begins from a trained model"
    of_sft = artifacts.read_json(before)["sft"] if before.exists() else {
        key.removeprefix("sft."): value for key, value in sft.config.items() if key.startswith("sft.")
    }  # fmt: skip
    known = {key: value for key, value in of_sft.items() if key in Sft.model_fields}
    home = config.run.dir / ANEW
    run = config.run.model_copy(update={"dir": home, "remote": inherit_remote(config.run, home)})
    return config.model_copy(update={"run": run, "sft": Sft.model_validate({**known, "replay": None})})


def check_command(command: Command, begin: Begin) -> None:
    from genrec.stages.updating import refuse_source

    config = command.config
    if config.update.events is None:
        raise ConfigError(f"--events is required: a table of what happened since {begin.run}, as data.events takes it")
    if world_size() > 1:
        raise ConfigError(
            f"genrec update works in one process, {world_size()} were launched; the stages of a run begun by it can be "
            f"launched by several: {call_of(*RUN)} --config {config.run.dir / artifacts.UPDATE_CONFIG} --from sft"
        )
    if config.run.dir.resolve() == begin.run.resolve():
        raise ConfigError(f"--run.dir {config.run.dir} is the run to go on from, which stays as it is; name another")
    if config.evaluation.split != "test" or config.evaluation.index != "sids":
        raise ConfigError("an update is measured on test rows by its own SIDs; leave evaluation.split and index out")
    refuse_source(config.data, begin.run)


# The update


@dataclass(frozen=True)
class Step:
    """A stage of a run, how it is built and from which files beside the run."""

    name: str
    build: stage.Build
    sources: stage.Sources | None = None


def update(command: Command, begin: Begin) -> None:
    """What joins and how far it drifted; then stage after stage; then the comparison."""
    from genrec.data.drift import describe_drift, drift_to_json, measure_drift
    from genrec.stages.updating import read_joined

    config = command.config
    joined, shop = read_joined(begin, config.update, config.data)
    drift = measure_drift(joined)
    if command.dry_run:
        note("update", joined.ledger.line())
    print(f"\n{describe_drift(drift)}\n")
    steps = list_steps(config, begin, joined, shop)
    if command.dry_run:
        walk(steps, command)
        return
    with only_writer(config.run.dir / "update"):
        write_json(config.run.dir / artifacts.UPDATE_CONFIG, config.model_dump(mode="json"))
        anew = settle_anew(config, begin)
        write_json(config.run.dir / artifacts.ANEW_CONFIG, anew.model_dump(mode="json"))
        walk(steps, command)
        if config.update.anew:
            train_anew(anew, command)
        compared = compare_on_both(command, begin, anew)
        report(config, begin, describe_drift(drift), drift_to_json(drift), compared)


def list_steps(config: Config, begin: Begin, joined: Joined, shop: Shop) -> list[Step]:
    from genrec.stages import embed, updating

    own = [
        Step(
            "data",
            lambda config, directory: updating.write_data(joined, shop, config, directory),
            lambda config: updating.fingerprint_begin(begin, config.update),
        ),
        Step("embeddings", partial(updating.write_embeddings, begin), embed.sources),
        Step("sids", partial(updating.write_sids, begin)),
    ]
    return own + list_training(config)


def list_training(config: Config) -> list[Step]:
    """SFT, RL where it is asked for, and the sequential model where one of them reads it."""
    from genrec.stages import rl, sequential, sft

    read = {*reads("sft", config), *(reads("rl", config) if config.update.with_rl else ())}
    steps = [Step("sequential", sequential.build)] if "sequential" in read else []
    steps.append(Step("sft", sft.build, sft.sources))
    return [*steps, Step("rl", rl.build, rl.sources)] if config.update.with_rl else steps


def walk(steps: list[Step], command: Command) -> None:
    for step in steps:
        refuse_other(step, command)
        stage.run(step.name, command, step.build, step.sources)


def refuse_other(step: Step, command: Command) -> None:
    """A stage's own ways on name its command, which knows nothing of the run that this one goes on from."""
    job = stage.Job(step.name, command.config, step.build, step.sources)
    state, different = stage.status(job)
    if state == "stale" and not command.clean:
        anew = f"`{call_of(*UPDATE)} --clean` (with your other flags)"
        raise ArtifactError(refusal(job.final, different, "--run.dir ANOTHER", anew))


def train_anew(config: Config, command: Command) -> None:
    """SIDs and model made anew on all rows, in a run of its own that shares data and vectors with the updated one."""
    from genrec.stages import sids
    from genrec.stages.updating import share_stage

    for name in ("data", "embeddings"):
        share_stage(name, command.config, config)
    walk([Step("sids", sids.build), *list_training(config)], command._replace(config=config))


# The comparison


def compare_on_both(command: Command, begin: Begin, anew: Config) -> list[Compared]:
    from genrec.evaluation.update_table import ROW_NAMES, compare_models

    config = command.config
    sides = [rows for rows in ROW_NAMES if rows == "newest" or count_earlier(config)]
    return [compare_models(rows, measure_models(rows, command, begin, anew), config.run.seed) for rows in sides]


def count_earlier(config: Config) -> int:
    from genrec.store import RunStore

    updated = RunStore.of(config).prepared().updated
    return len(updated.earlier) if updated else 0


def measure_models(rows: str, command: Command, begin: Begin, anew: Config) -> list[Measured]:
    from genrec.evaluation.report import read_report
    from genrec.evaluation.update_table import Measured

    config = command.config
    place = make_place(rows, config, command, config.run.dir / COMPARED / rows)
    models: list[tuple[str, Config, Path, str]] = [
        (AS_IT_WAS, place, begin.model, "sids_grown"),
        (GROWN, place, begin.model, "sids"),
        (UPDATED, place, config.run.dir / "sft", "sids"),
    ]
    models += [(WITH_RL, place, config.run.dir / "rl", "sids")] if config.update.with_rl else []
    if config.update.anew:
        place = make_place(rows, anew, command, config.run.dir / COMPARED / f"{rows}_{ANEW}")
        models.append((TRAINED_ANEW, place, anew.run.dir / ("rl" if config.update.with_rl else "sft"), "sids"))
    retire_new_items(models[0][1], begin)
    seconds = {UPDATED: config, WITH_RL: config, TRAINED_ANEW: anew}
    return [
        Measured(name, read_report(score(name, where, model, index)), train_time(seconds.get(name), name))
        for name, where, model, index in models
    ]


def make_place(rows: str, config: Config, command: Command, home: Path) -> Config:
    """A run with the data of these rows and the SIDs of `config`, where models are scored."""
    from genrec.stages.updating import share_stage, write_earlier_rows
    from genrec.store import RunStore

    place = config.model_copy(update={"run": config.run.model_copy(update={"dir": home, "remote": None})})
    updated = RunStore.of(command.config)
    if rows == "newest":
        share_stage("data", command.config, place)
    else:
        made_from = {"data of the update": updated.manifest("data").fingerprint}
        write = partial(write_earlier_rows, updated)
        stage.run("data", command._replace(config=place), write, lambda config: made_from)
    share_stage("sids", config, place)
    return place


def retire_new_items(place: Config, begin: Begin) -> None:
    """The catalogue as it was: in sids_grown/ every new item is left out of lists."""
    from genrec.quantizers.grow import read_base, retire_items, write_grown
    from genrec.store import RunStore

    store = RunStore.of(place)
    index, catalog, allowed = read_base(store.dataset, store.path("sids"))
    retired = retire_items(allowed, list(range(len(begin.store.catalog()), len(allowed))))
    what = {"added_files": [], "items": [], "retired": retired}
    write_grown(store.dataset, store.grown_dir, index, catalog, allowed, None, what)


def score(name: str, place: Config, model: Path, index: str) -> Path:
    """The directory of a model's lists, made now where they are not there, or of another model of this name."""
    from genrec.stages.evaluate import HeldOut, make_job

    settings = place.evaluation.model_copy(update={"base_model": model, "index": index, "models": ["sft"]})
    config = place.model_copy(update={"evaluation": settings})
    job = replace(make_job(HeldOut(config), "sft"), row=keep_word(name))
    state, _ = stage.status(job)
    if state != "up to date":
        stage.run_job(job, Command(config, clean=state == "stale"))
    return job.final


def train_time(config: Config | None, name: str) -> float:
    """Seconds of the stages that made a model, new vectors aside; of a stage that was killed those of its last call."""
    if config is None:
        return 0.0
    stages = ("sids", "sequential", "sft", *(("rl",) if config.update.with_rl and name != UPDATED else ()))
    return sum(manifest.seconds for name in stages if (manifest := read_manifest(artifact_dir(config, name))))


def report(config: Config, begin: Begin, drift: str, drift_json: dict[str, Any], compared: list[Compared]) -> None:
    from genrec.evaluation.update_table import compared_to_json, describe_compared

    home = config.run.dir
    tables = describe_compared(compared)
    told = {"from_run": str(begin.run), "drift": drift_json, "compared": compared_to_json(compared)}
    write_json(home / artifacts.UPDATE_RESULTS, told)
    write_text(home / artifacts.UPDATE_TABLE, f"{begin.run} -> {home}\n\n{drift}\n\n{tables}\n")
    print(f"\n{tables}\n\nThis text: {home / artifacts.UPDATE_TABLE}")
    print(f"The run, for every other command: --config {home / artifacts.UPDATE_CONFIG}")
