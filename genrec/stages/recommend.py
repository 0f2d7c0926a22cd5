"""What should this user be offered? The best items of a trained model, on the screen or in a file.

    genrec recommend --run.dir outputs/quickstart --user 196
    genrec recommend --run.dir outputs/quickstart --items 50,172 --k 5
    genrec recommend --run.dir outputs/quickstart --titles "Star Wars (1977)" "Alien (1979)"
    genrec recommend --run.dir outputs/quickstart --all_users --output lists.parquet
    genrec recommend --run.dir outputs/quickstart --all_users --shards 8 --output lists    a part a shard, resumable
    genrec recommend --model path/to/model --users events.csv --output lists.jsonl     without the run
    genrec recommend --run.dir outputs/quickstart --user 196 --backend onnx-int8       by what genrec export made

Reads a run, or a model directory; of a run rl where RL helped, else sft, or the family that --model names. Lists are
made as evaluation made the run's table; --evaluation.num_beams and its other knobs change that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

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
from genrec.config import Section, comma_list, knob
from genrec.engine.cluster import require_engine
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error
from genrec.launch import note
from genrec.run_choice import is_run

if TYPE_CHECKING:
    import polars as pl

    from genrec.config import Data
    from genrec.data.histories import Histories
    from genrec.data.titles import TitleMatch
    from genrec.engine.list_shards import Job
    from genrec.recommender import Recommender

WHOM = ("user", "items", "titles", "users", "all_users")
WRITERS = (".parquet", ".jsonl")
SHOWN = 5  # latest items of a history on the screen
LIKE = 0.4  # of a title, to be taken for another
LONGEST = 160  # letters of a title in a list on the screen


class RecommendOptions(Section):
    """Whom for, and what may be listed."""

    user: str | None = knob(None, "a user of the run, by the shop's id")
    items: list[str] = knob([], "a history, as item ids, oldest first: a,b or a b; with commas in them ['a, 1', b]")
    titles: list[str] = knob([], "a history, as titles; the nearest of the catalogue are taken, and said")
    users: Path | None = knob(
        None, "many: .txt with a user id of the run a line, or events (user, item, time) in the forms of data.events"
    )
    all_users: bool = knob(False, "every user of the run")
    model: str | None = knob(
        None, "of a run: the family (sft, rl, sasrec, item_knn, ...); or a model directory, or a hub's name"
    )
    backend: Literal["torch", "onnx", "onnx-int8", "onnx-int4"] | None = knob(
        None, "what computes: torch, or a graph that genrec export made; empty: onnx of an export, else torch"
    )
    k: int = knob(10, "items a list", ge=1)
    exclude_seen: bool = knob(True, "leave out all that a user had before")
    allow: Path | None = knob(None, "a file of item ids, one a line: nothing else is listed")
    deny: Path | None = knob(None, "a file of item ids, one a line: these are not listed")
    skip_unknown: bool = knob(False, "pass over items of --users that the catalogue lacks, in place of an error")
    output: Path | None = knob(
        None, "write the lists to F.parquet or F.jsonl, not to the screen; with shards, to a directory of parts"
    )
    shards: int = knob(
        0, "cut many users into so many Parquet parts; a call that was stopped goes on with those not there", ge=0
    )

    split_items = field_validator("items", mode="before")(comma_list)


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    own_flags = {"also": RecommendOptions, "also_heading": "recommend"}
    program = stage_program("genrec recommend", __doc__, plain=plain_names(), switches=(), **own_flags)
    choices = options_program("genrec recommend", __doc__, RecommendOptions)
    if "--help" in argv or "-h" in argv:
        parse(program, argv)
    with exit_on_usage_error():
        own, flags = split_words(choices, hold_titles(argv))
        options = parse_strict(choices, own).config
        spell_out(program, flags)  # a mistyped --user is named before it is missed
        check_options(options)
    command, named = parse_run_flags(program, options.model, flags)
    with exit_on_failure(options.output or Path()):
        answer(options, command, named)


def hold_titles(argv: list[str]) -> list[str]:
    """`--titles A B` as YAML, so that a comma in a title stays in it."""
    import json

    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word != "--titles":
            words.append(word)
            continue
        titles = []
        while rest and not rest[0].startswith("--"):
            titles.append(rest.pop(0))
        words.append(f"--titles={json.dumps(titles, ensure_ascii=False)}")
    return words


def check_options(options: RecommendOptions) -> None:
    asked = [f"--{name}" for name in WHOM if getattr(options, name)]
    if len(asked) != 1:
        what = " and ".join(asked) or "none of them"
        raise ConfigError(f"whom for? pass one of {', '.join(f'--{name}' for name in WHOM)}; found {what}")
    if (options.users or options.all_users) and options.output is None:
        raise ConfigError(f"{asked[0]} needs --output F.parquet or F.jsonl: lists of many users are written to a file")
    if options.shards:
        check_shards(options)
    elif options.output and options.output.suffix not in WRITERS:
        raise ConfigError(f"--output {options.output} must end in {' or '.join(WRITERS)}")


def check_shards(options: RecommendOptions) -> None:
    if not (options.users or options.all_users):
        raise ConfigError(f"--shards {options.shards} cuts many users; add --all_users or --users FILE")
    if options.output and options.output.suffix in WRITERS:
        raise ConfigError(
            f"--shards {options.shards} writes a directory of parts, found the file --output {options.output}"
        )


def parse_run_flags(program: Program, model: str | None, flags: list[str]) -> tuple[Command, bool]:
    """The flags that are of a run, and whether a configuration is among them; a model by itself has no run to name."""
    named = any(word == "--config" or word.startswith("--config=") for word in flags)
    if not (model and is_place(model)):
        return parse(program, flags), named
    with exit_on_usage_error():
        return parse_strict(program, flags), named


def is_place(model: str) -> bool:
    """Whether --model names a model of its own and no family of the run."""
    return "/" in model or Path(model).is_dir()


def answer(options: RecommendOptions, command: Command, named: bool) -> None:
    if command.config.run.engine == "ray" and not options.shards:
        raise ConfigError(
            "run.engine ray gives shards of many users to workers; add --shards N, with --all_users or --users"
        )
    require_engine(command.config.run)
    fetch_model(options.model, options.backend, command)
    shop = load_shop(options, command, named)
    if options.all_users:
        rows = shop.all_users()
    elif options.users:
        rows = read_users(options.users, shop, options.skip_unknown, command.config.data)
    elif options.user is not None:
        rows = shop.read_histories(users=[options.user])
    elif options.items:
        rows = shop.read_histories([options.items], users=["-"])
    else:
        matches = shop.find_titles(options.titles)
        for match in matches:
            check_match(match)
            if not match.exact:
                note("recommend", describe_match(match))
        rows = shop.read_histories(numbers=[[match.item for match in matches]], users=["-"])
    if options.shards:
        from genrec.engine.list_shards import write_shards

        write_shards(plan_shards(options, command, named), shop, rows, command.config.run)
    elif options.output:
        write_lists(shop, rows, options, options.output)
    else:
        print(show_lists(shop, rows, options))


def plan_shards(options: RecommendOptions, command: Command, named: bool) -> Job:
    from genrec.engine.list_shards import Job

    place, model, asked = plan_load(options.model, options.backend, command, named)
    assert options.output is not None, "checked with the flags"
    return Job(str(place), model, asked, rules_of(options), options.output, options.shards)


def load_shop(options: RecommendOptions, command: Command, named: bool) -> Recommender:
    from genrec.loading import load

    place, model, asked = plan_load(options.model, options.backend, command, named)
    if command.config.run.engine == "ray":  # workers compute, perhaps on GPUs that this machine lacks
        asked["device"] = "cpu"
    return load(place, model, **asked)


def plan_load(
    model: str | None, backend: str | None, command: Command, named: bool
) -> tuple[Path | str, str | None, dict[str, Any]]:
    """Where a model lies, its family there, and what else `genrec.load` is told, by a command line."""
    from genrec.loading import DECODING

    config = command.config
    asked: dict[str, Any] = {
        key: getattr(config.evaluation, key) for key in DECODING if is_asked(command, f"evaluation.{key}", named)
    }
    if is_asked(command, "evaluation.ranking", named):
        asked["ranking"] = config.evaluation.ranking
    asked |= {"device": config.run.device, "backend": backend}
    if model and is_place(model):
        return model, None, asked
    if not is_run(config.run.dir):
        others = [str(path) for path in sorted(config.run.dir.parent.glob("*")) if is_run(path)]
        there = f" ({', '.join(others[:5])})" if others else ""
        raise ArtifactError(
            f"{config.run.dir} is no run: no stage's artifact is in it; name one by --run.dir{there}, or a model "
            "directory by --model DIR"
        )
    return config.run.dir, model, asked


def fetch_model(model: str | None, backend: str | None, command: Command, also: Sequence[str] = ()) -> None:
    """With run.remote: what the run's models read; a model by itself has no run."""
    from genrec.model_choice import fetch_models

    if not (model and is_place(model)):
        fetch_models(command.config, [model, *also], export=backend not in (None, "torch"))


def is_asked(command: Command, key: str, named: bool) -> bool:
    """By a flag, or by a file that this call names; the default preset says nothing of how a run is decoded."""
    origin = command.origins.get(key, "")
    return origin.startswith("--") or (named and bool(origin))


def check_match(match: TitleMatch) -> None:
    """The nearest of all titles may have nothing in common with what was meant."""
    from genrec.data.titles import fold

    if match.likeness < LIKE and fold(match.asked) not in fold(match.title):
        raise ConfigError(
            f"no title is like '{match.asked}'; the nearest is '{match.title}' (likeness {match.likeness:.2f} of 1, "
            f"wanted {LIKE}); write more of the title, or item ids: --items"
        )


def describe_match(match: TitleMatch) -> str:
    if match.likeness == 1:
        return f"'{match.asked}' is taken as '{match.title}'"
    return f"no title '{match.asked}'; the nearest is taken: '{match.title}' (likeness {match.likeness:.2f} of 1)"


def read_users(path: Path, shop: Recommender, skip: bool, data: Data) -> Histories:
    """A file of user ids, or of events."""
    if path.suffix == ".txt":
        return shop.read_histories(users=read_words(path))
    return shop.read_histories(read_table(path, data), skip_unknown=skip)


def read_table(path: Path, data: Data) -> pl.DataFrame:
    """Events as `data.events` reads them: its forms, its names of columns. Columns user, item and perhaps time."""
    from genrec.data.ledger import Ledger
    from genrec.data.ndjson import check_bad_share
    from genrec.data.table_columns import assign_columns
    from genrec.data.table_files import KINDS, kind_of, open_table

    if not path.exists():
        raise ArtifactError(f"--users {path} is not there")
    if path.is_file() and not kind_of(path):
        raise ConfigError(f"--users {path} must end in .txt (ids), or of events in one of {', '.join(KINDS)}")
    table, ledger = open_table(str(path), "events"), Ledger("events")
    given = {str(role): names for role, names in (data.columns or {}).items()}
    columns = assign_columns(table, "events", given, needed=("user", "item"))
    names = {columns.of[role][0]: role for role in ("user", "item", "time") if role in columns.of}
    frame = table.read(list(names), ledger).frame.rename(names)
    check_bad_share(ledger, path, data.max_bad_share)
    if ledger.dropped:
        note("recommend", f"{path}: {ledger.trail()}")
    return frame


def read_words(path: Path | None) -> list[str] | None:
    """One a line; empty lines are passed over."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def rules_of(options: RecommendOptions) -> dict[str, Any]:
    """How lists are made, as Recommender.recommend takes it."""
    lists = {name: read_words(getattr(options, name)) for name in ("allow", "deny")}
    return {"k": options.k, "exclude_seen": options.exclude_seen, **lists}


# One user, on the screen


def show_lists(shop: Recommender, rows: Histories, options: RecommendOptions) -> str:
    from genrec.evaluation.predictions import shorten
    from genrec.tables import render_table

    lists = next(shop.recommend_blocks(rows, **rules_of(options)))
    columns = lists.select("rank", "title", "score", "item_id", "sid").rows()
    table = [
        [str(rank), shorten(title, LONGEST), f"{score:.3f}", item, sid or ""]
        for rank, title, score, item, sid in columns
    ]
    text = render_table([["rank", "title", "score", "item", "SID"], *table], words=("title", "item", "SID"))
    notes = [describe_history(shop, rows), *describe_short(len(lists), options.k), *describe_proof(lists)]
    return "\n".join([*notes, "", text, "", describe_scores(shop, rows)])


def describe_history(shop: Recommender, rows: Histories) -> str:
    from genrec.evaluation.predictions import show_title

    name = str(rows.name[0])
    who = "history" if name == "-" else f"user {name}"
    if not len(rows.item):
        return f"{who} has no history: the popular items are listed"
    earlier = f", the latest {SHOWN}" if len(rows.item) > SHOWN else ""
    lines = [f"{who}: {len(rows.item):,} item{'s' * (len(rows.item) != 1)}{earlier}"]
    return "\n".join([*lines, *(show_title("  ", str(shop.catalog.title[item])) for item in rows.item[-SHOWN:])])


def describe_short(length: int, k: int) -> list[str]:
    if not length:
        return ["no item may be listed: --deny, --allow and --exclude_seen leave none"]
    return [] if length == k else [f"only {length} item{'s' * (length != 1)} may be listed"]


def describe_proof(lists: pl.DataFrame) -> list[str]:
    """Of a frontier: whether the list is exact, or what a better item might score."""
    if "exact" not in lists.columns or not len(lists):
        return []
    exact, bound = lists.select("exact", "bound").row(0)
    return ["exact: no other item scores higher" if exact else f"not proven: another item may score up to {bound:.3f}"]


def describe_scores(shop: Recommender, rows: Histories) -> str:
    if not len(rows.item):
        return "score: share of the training events"
    kinds = {"popular": "share of the training events", "ensemble": "probability"}
    kind = "log-probability of the SID" if shop.is_language_model else kinds.get(shop.model, "as the model gives it")
    if getattr(shop.family, "cold_items", None) is not None:
        kind = "log-probability, of items without a train event by their texts"
    return f"score of '{shop.model}': {kind}"


# Many users, into a file


def write_lists(shop: Recommender, rows: Histories, options: RecommendOptions, path: Path) -> None:
    from tqdm import tqdm

    from genrec.engine.list_shards import open_writer

    begin, count, cold = time.perf_counter(), 0, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=len(rows), desc="recommend", unit="row", disable=None)
    with open_writer(path, shop.empty) as write, bar:
        for frame in shop.recommend_blocks(rows, **rules_of(options)):
            write(frame)
            done = min(shop.block, len(rows) - int(bar.n))
            bar.update(done)
            count += len(frame)
            cold += frame.filter(frame["cold"])["user"].n_unique() if frame["cold"].any() else 0
    seconds = time.perf_counter() - begin
    speed = len(rows) / max(seconds, 1e-9)
    note(
        "recommend",
        f"{len(rows):,} users, {count:,} items by '{shop.model}' in {seconds:.1f} s ({speed:.1f} rows/s) -> {path}",
    )
    if cold:
        note("recommend", f"{cold:,} users have no history and got the popular items (column cold)")
