"""A training from its options to its best model, checkpoints and evaluation, that goes on where a kill left it.

A finished one is left alone, or given more epochs. Directories that hold another one make room: its files move into
earlier-<n>/.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from genrec.artifacts import TRAINING, read_json, remove_directories, write_json
from genrec.errors import ArtifactError
from genrec.evaluation.report import make_table, summarize_report
from genrec.guard import Made, differences, read_made
from genrec.launch import note
from genrec.lock import only_writer
from genrec.runtime.epochs import CHECKPOINT, PREVIOUS, Metrics, Progress, fit, highest
from genrec.runtime.training_record import TrainingRecord, is_trained, read_record, write_record
from genrec.stage import Identity
from tencentgr.assembly import fingerprint_of
from tencentgr.checkpoints import BEST, CONFIG, Card, load_model, make_card, save_best, save_checkpoint
from tencentgr.dataset import report_lines
from tencentgr.learner import TencentGRLearner
from tencentgr.options import TencentGROptions
from tencentgr.processes import start_processes
from tencentgr.ranking import make_ranking_report, rank_rows, write_evaluation
from tencentgr.reads import acting_knobs, acting_options, list_ignored
from tencentgr.step_log import LOG
from tencentgr.warm_start import check_start

RUN = "run.json"  # the knobs and the data that a run in these directories was started with
ENDS = "schedule_ends"  # its key of the epochs after which earlier schedules ended
METRIC = "ndcg@10"  # of valid: what the best epoch is best by


def train(options: TencentGROptions, clean: bool = False) -> None:
    """`clean` removes what an earlier run wrote into these directories."""
    check_start(options)
    processes = start_processes(options.device)
    try:
        with ExitStack() as locks:
            for directory in dict.fromkeys((options.models, options.log_dir)) if processes.first else ():
                locks.enter_context(only_writer(directory))
            run(TencentGRLearner(options, processes), clean)
    finally:
        processes.end()


def run(learner: TencentGRLearner, clean: bool) -> None:
    options, processes = learner.options, learner.processes
    ends = processes.share(begin(learner, clean) if processes.first else None)
    learner.follow_schedules(ends)
    if is_finished(options.models, ends):
        note("train", f"{options.models / BEST}.pt is finished; --clean trains again")
        return
    progress = fit(
        learner,
        learner.validate,
        options.num_epochs,
        options.early_stop,
        options.models,
        name="train",
        bests={BEST: highest(METRIC)},
        keep=partial(keep_best, learner),
        after_validation=partial(after_validation, learner),
        group=processes,
    )
    if processes.first:
        finish(learner, progress)
    processes.wait()


def begin(learner: TencentGRLearner, clean: bool) -> tuple[int, ...]:
    """Say what is trained, where nothing of another run is in the way; the epochs after which its schedules ended."""
    options, identity = learner.options, identity_of(learner)
    note_data(learner)
    check_owner(options.models)
    if clean:
        remove_run(options)
    elif (options.models / RUN).exists():
        make_room(options, identity)
    for directory in (options.models, options.log_dir):
        directory.mkdir(parents=True, exist_ok=True)
    if not (options.models / RUN).exists():
        write_json(options.models / RUN, identity)
    rows = ", ".join(f"{len(rows):,} {name}" for name, rows in learner.rows.items())
    params = sum(parameter.numel() for parameter in learner.model.parameters())
    note(
        "train",
        f"{rows} sequences, {learner.data.schema.num_items:,} items, {params:,} weights, {learner.steps:,} steps",
    )
    return read_ends(options.models)


def make_room(options: TencentGROptions, identity: Identity) -> None:
    """The files of another run are moved and kept; a finished one that was shorter and else the same goes on."""
    made = read_made(options.models / RUN)
    if wants_more_epochs(options, made, identity):
        extend(options, made, identity)
    elif different := differences(made, identity):
        note("train", f"{options.models} was made with other settings: {'; '.join(different)}")
        note("train", f"that run's files moved to {put_away(options)}")


# More epochs for a finished run


def wants_more_epochs(options: TencentGROptions, made: Made, asked: Identity) -> bool:
    """Whether the run there is finished and all that is asked otherwise is a longer training."""
    was, now = dict(made["config"]), dict(asked["config"])
    epochs, wanted = was.pop("num_epochs", None), now.pop("num_epochs")
    whole = is_finished(options.models, read_ends(options.models)) and (options.models / CHECKPOINT).exists()
    return whole and was == now and made["inputs"] == asked["inputs"] and type(epochs) is int and epochs < wanted


def extend(options: TencentGROptions, made: Made, asked: Identity) -> None:
    """Write down that another schedule begins where the finished run ended; its record says until then that it is."""
    epochs, done = made["config"]["num_epochs"], read_record(options.models).length
    if done < epochs:
        raise ArtifactError(
            f"the run in {options.models} ended after {done} of {epochs} epochs by --early_stop {options.early_stop}, "
            f"so more would not begin; pass --state_dict_path {options.models / BEST}.pt with --log_dir ANOTHER to "
            "begin from its best, or --clean to train anew"
        )
    ends = [*read_ends(options.models), done]
    write_json(options.models / RUN, {**asked, ENDS: ends})
    note(
        "train",
        f"goes on from the end of the finished run, epoch {done}, to epoch {options.num_epochs} under a schedule of "
        f"its own ({options.lr_scheduler})",
    )


def read_ends(directory: Path) -> tuple[int, ...]:
    """The epochs after which earlier schedules of the run ended, () where it has had one alone."""
    ends = read_json(directory / RUN).get(ENDS, [])
    if not isinstance(ends, list) or any(type(end) is not int or end < 1 for end in ends) or ends != sorted(set(ends)):
        raise ArtifactError(f"{directory / RUN} says {ends!r} of {ENDS}, which are rising epochs; put it back")
    return tuple(ends)


def is_finished(directory: Path, ends: tuple[int, ...]) -> bool:
    """Whether the last of the run's schedules has ended."""
    return is_trained(directory) and (not ends or read_record(directory).length > ends[-1])


def check_owner(directory: Path) -> None:
    """What lies there was begun by a run that says with what, so that nobody else's state is gone on from."""
    names = [name for name in (CHECKPOINT, TRAINING, f"{BEST}.safetensors") if (directory / name).exists()]
    if names and not (directory / RUN).exists():
        raise ArtifactError(
            f"{directory} holds {' and '.join(names)}, but no {RUN} that says what made them; "
            "pass --log_dir ANOTHER (or --ckpt_dir), or remove them"
        )


def identity_of(learner: TencentGRLearner) -> Identity:
    """What the weights depend on."""
    knobs = acting_knobs(learner.options) | {"processes": learner.processes.count}
    knobs |= {"start": learner.start} if learner.start else {}
    return {"config": knobs, "inputs": {"data": fingerprint_of(learner.data)}}


def note_data(learner: TencentGRLearner) -> None:
    options, data = learner.options, learner.data
    if ignored := list_ignored(options):
        note("train", f"not read with these settings: {', '.join(ignored)}")
    if options.source != "tencentgr":
        return
    for line in report_lines(data.report):
        note("data", line)
    if options.semantic and not data.schema.semantic:
        note("data", "warning: no semantic_id_dict.json, so there is no semantic-id feature; train_rqvae.py writes it")


# After an epoch, on the first process


def keep_best(learner: TencentGRLearner, path: Path, entry: Metrics) -> None:
    save_best(path.parent, learner.model, card_of(learner, entry))


def after_validation(learner: TencentGRLearner, progress: Progress) -> None:
    entry, options = progress.curve[-1], learner.options
    if options.save_freq and progress.epoch % options.save_freq == 0:
        save_checkpoint(options.models, learner.model, card_of(learner, entry))
    learner.write_validation(entry)


def card_of(learner: TencentGRLearner, entry: Metrics) -> Card:
    standing = {"epoch": entry["epoch"], "global_step": learner.global_step, **entry}
    return make_card(learner.model, acting_options(learner.options), **standing)


# At the end


def finish(learner: TencentGRLearner, progress: Progress) -> None:
    """The best model on the last split the data have (test, else valid), through the shared evaluator."""
    options, data = learner.options, learner.data
    model, _ = load_model(options.models / f"{BEST}.safetensors", learner.model.shape, learner.model.schema)
    model = model.use(data.items, data.users).to(learner.processes.device)
    split = "test" if "test" in learner.rows else "valid"
    ranking = rank_rows(model, data, learner.rows[split], options.time_features)
    counts = data.popularity(learner.rows["train"])
    report = make_ranking_report("tencentgr", data, learner.rows[split], split, ranking, counts)
    directory = options.log_dir / "evaluation"
    write_evaluation(report, directory, options.seed)
    write_record(record_of(progress), options.models)
    content = summarize_report(report, options.seed)
    auc, score = (content["metrics"][name]["mean"] for name in ("auc", "score"))
    print(
        f"\n{make_table([content])}\nAUC {auc:.4f}, competition score (.31 HR@10 + .69 NDCG@10) {score:.4f}", flush=True
    )
    if split == "valid":
        note("train", "the same users chose the best epoch; these data have no test split of their own")
    best = f"best of epoch {progress.best[BEST]['epoch']}: {options.models / BEST}.pt"
    note("train", f"{best}; {directory}/results.json")


def record_of(progress: Progress) -> TrainingRecord:
    best = progress.best[BEST]
    return TrainingRecord("epochs", progress.epoch, best["epoch"], METRIC, best[METRIC], progress.curve)


# Files of a run


def put_away(options: TencentGROptions) -> Path:
    """Move what a run wrote into <directory>/earlier-<n>/; the last of these."""
    target = options.models
    for directory in directories_of(options):
        if not (written := files_of_run(directory)):
            continue
        target = next(path for n in range(1, 10_000) if not (path := directory / f"earlier-{n}").exists())
        target.mkdir()
        for path in written:
            shutil.move(path, target / path.name)
    return target


def remove_run(options: TencentGROptions) -> None:
    """Only where a run says that it wrote there; files of the same names may be somebody else's."""
    if not (options.models / RUN).exists():
        return
    for path in (path for directory in directories_of(options) for path in files_of_run(directory)):
        remove_directories(path) if path.is_dir() else path.unlink()


def directories_of(options: TencentGROptions) -> tuple[Path, ...]:
    return tuple(dict.fromkeys((options.models, options.log_dir, options.tb_dir)))


def files_of_run(directory: Path) -> list[Path]:
    names = (
        f"{BEST}.*",
        CHECKPOINT,
        PREVIOUS,
        TRAINING,
        RUN,
        CONFIG,
        LOG,
        "evaluation",
        "global_step*",
        "events.out.tfevents.*",
        "run-*",
    )
    return [path for path in sorted(directory.glob("*")) if any(path.match(name) for name in names)]
