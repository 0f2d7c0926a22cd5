"""Raw reviews and item texts -> catalogue, sequences, splits.

Reads   data.raw_dir, or downloads into it (a moved host: --url, a copy at hand: --raw_dir)
Writes  <run.dir>/data: catalog.parquet, sequences.npz, splits.npz, report.json (each row dropped, by reason)
        and, with --output_path P, the seed's files under P/<dataset>/

    genrec prepare --config 0.5b --dataset Office_Products --raw_dir raw
    genrec prepare --source table --events reviews/ --shard_size 256                      # in bounded memory
    genrec prepare --source table --events reviews/ --run.engine ray --run.workers 8      # by workers of Ray
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genrec import stage
from genrec.artifacts import MANIFEST, read_manifest
from genrec.commandline import Command
from genrec.config import SHARDED_SOURCES, Config
from genrec.errors import ArtifactError, ConfigError, fail, suggest
from genrec.launch import note
from genrec.run_choice import record_run
from genrec.store import RunStore
from genrec.windows import CATEGORIES, Collection

if TYPE_CHECKING:
    from genrec.data.preparation import Preparation


def build(config: Config, directory: Path) -> dict:
    """One source -> the data artifact."""
    from genrec import artifacts
    from genrec.data.catalog import save_catalog
    from genrec.data.preparation import summarize_preparation
    from genrec.data.sequences import save_sequences, save_splits
    from genrec.data.sources import find_source
    from genrec.data.table_urls import fetch_tables

    config = config.model_copy(update={"data": fetch_tables(config.data)})
    source = find_source(config.data.source)
    refuse_unknown_category(config)
    preparation = prepare(config, directory)
    save_catalog(preparation.catalog, directory / artifacts.CATALOG)
    save_sequences(preparation.sequences, directory / artifacts.SEQUENCES)
    save_splits(preparation.splits, directory / artifacts.SPLITS)
    artifacts.write_json(directory / artifacts.REPORT, preparation.report)
    if config.data.source == "minionerec":
        name = artifacts.INDEX_JSON.format(dataset=config.data.dataset)
        shutil.copyfile(
            source.raw_files(config.data, config.run.seed)["index"], directory / name
        )  # for sids.method: imported
    for line in summarize_preparation(preparation.report):
        note("data", line)
    return {key: preparation.report[key] for key in ("users", "items", "events", "rows")}


def prepare(config: Config, directory: Path) -> Preparation:
    """By shards where that is asked; the same either way."""
    from genrec.data.shards.sharded import PLACE, prepare_by_shards
    from genrec.data.shards.work import say_spent
    from genrec.data.sources import find_source
    from genrec.engine.data_shards import choose_size, find_workers, say_whole

    size = choose_size(config)
    if size is None:
        shutil.rmtree(directory / PLACE, ignore_errors=True)  # of a call that was stopped
        if config.run.engine == "ray" and config.data.source in SHARDED_SOURCES:
            whole = f"data.events {config.data.events} is a dataset, read"
            why = "data.split new_items looks at all events" if config.data.split == "new_items" else whole
            note("data", f"is computed by this process; {why} at once")
        return find_source(config.data.source).prepare(config.data, config.run.seed)
    with find_workers(config.run) as workers:
        try:
            made = prepare_by_shards(config.data, config.run.seed, size, directory, workers)
        except (ArtifactError, ConfigError):  # other files or knobs mend it, and what is kept would refuse those
            shutil.rmtree(directory / PLACE, ignore_errors=True)
            raise
    shutil.rmtree(directory / PLACE)
    note("data", f"{made.pieces:,} pieces of files, {made.groups:,} groups of users")
    for line in (*say_whole(made.whole, size), *say_spent(made.spent, config.run.workers)):
        note("data", line)
    return made.preparation


def refuse_unknown_category(config: Config) -> None:
    """Before a download that can only fail: a name of Amazon's without a file, or the mistyped name of a shop."""
    from genrec.data.amazon import EDITIONS

    data = config.data
    known = Collection(data.source, data.dataset).category or data.source not in EDITIONS or data.url
    if known or sources(config):
        return
    runs = sorted(path.parent.parent for path in config.run.dir.parent.glob(f"*/data/{MANIFEST}"))
    near = suggest(data.dataset, [run.name for run in runs]) or suggest(data.dataset, CATEGORIES)
    ways = [f"--run.dir of a run that is there ({', '.join(map(str, runs[:5]))})"] if runs else []
    ways += ["--data.source table --data.events FILE for tables of your own"]
    raise ArtifactError(
        f"{data.source} has no category '{data.dataset}', and {data.raw_dir} no file of that name"
        f"{near.replace('?', '')}. Ways on: {', '.join(ways)}, --data.raw_dir DIR for files in Amazon's form, or "
        "--data.url for another host"
    )


def sources(config: Config) -> dict[str, str]:
    """Fingerprints of the raw files that are there."""
    from genrec.artifacts import sample_fingerprint
    from genrec.data.sources import find_source
    from genrec.data.table_urls import with_copies

    files = find_source(config.data.source).raw_files(with_copies(config.data), config.run.seed)
    return {role: sample_fingerprint(path) for role, path in files.items()}


def prepare_frames(
    events: Any, items: Any | None = None, *, run_dir: str | Path, clean: bool = False, **knobs: Any
) -> RunStore:
    """Frames of polars, pandas, Arrow or datasets -> the data artifact of a run; `knobs` are keys of the section data.

    The frames are kept as <run_dir>/tables/*.parquet, with run.yaml, which names them to every further command:
    genrec run --config quickstart --config <run_dir>/tables/run.yaml

    Other frames than the run was made of are refused, and the kept ones stay; `clean` makes it anew.
    """
    import yaml

    from genrec.artifacts import whole_path
    from genrec.config_checks import validate
    from genrec.data.frames import to_polars

    run, tables = Path(run_dir).absolute(), Path(run_dir).absolute() / "tables"
    frames = {"events": events} | ({} if items is None else {"items": items})
    files = {name: str(tables / f"{name}.parquet") for name in frames}
    data = {"dataset": run.name, **knobs, "source": "table", **files}
    config = validate({"run": {"dir": str(run)}, "data": data})
    taken = {name: to_polars(frame, name) for name, frame in frames.items()}
    tables.mkdir(parents=True, exist_ok=True)
    with stays_if_refused(tables):
        for name, frame in taken.items():
            with whole_path(Path(files[name])) as beside:
                frame.write_parquet(beside)
        with whole_path(tables / "run.yaml") as beside:
            beside.write_text(yaml.safe_dump({"run": {"dir": str(run)}, "data": data}, allow_unicode=True), "utf-8")
        stage.run("data", Command(config, clean=clean, dry_run=False), build, sources)
    return RunStore(run)


@contextmanager
def stays_if_refused(tables: Path) -> Iterator[None]:
    """Within: the kept frames are written; where the stage refuses them, those of before are put back."""
    with TemporaryDirectory(prefix=".tables-", dir=tables.parent) as beside:
        before = Path(shutil.copytree(tables, Path(beside) / "tables"))
        try:
            yield
        except BaseException as error:
            shutil.rmtree(tables)
            before.rename(tables)
            if isinstance(error, ArtifactError) and read_manifest(tables.parent / "data"):
                raise ArtifactError(f"{error}. From Python: clean=True") from None
            raise


def export_files(command: Command) -> None:
    """The seed's files beside the artifact, whenever --output_path asks for them."""
    config, target = command.config, command.config.data.output_path
    if target is None or command.dry_run:
        return
    from genrec.data.export import write_inter_files

    directory, dataset = target / config.data.dataset, config.data.dataset
    published = config.data.compat == "minionerec"
    try:
        write_inter_files(RunStore.of(config).prepared(), directory, dataset, published)
        record_run(directory, config.run.dir)
    except OSError as error:
        fail(f"cannot write {directory}: {error.strerror}; choose another --output_path")
    note("data", f"also wrote {directory}/{dataset}.*")


def main(argv: list[str] | None = None) -> None:
    export_files(stage.main("data", __doc__, build, sources, argv))
