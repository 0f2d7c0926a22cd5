"""Raw reviews and item texts -> catalogue, sequences, splits.

Reads   data.raw_dir, or downloads into it (a moved host: --url, a copy at hand: --raw_dir)
Writes  <run.dir>/data: catalog.parquet, sequences.npz, splits.npz, report.json (each row dropped, by reason)
        and, with --output_path P, the seed's files under P/<dataset>/

    genrec prepare --config 0.5b --dataset Office_Products --raw_dir raw
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from genrec import stage
from genrec.commandline import Command
from genrec.config import Config
from genrec.errors import fail
from genrec.launch import note
from genrec.run_choice import record_run
from genrec.store import RunStore


def build(config: Config, directory: Path) -> dict:
    """One source -> the data artifact."""
    from genrec import artifacts
    from genrec.data.catalog import save_catalog
    from genrec.data.preparation import summarize_preparation
    from genrec.data.sequences import save_sequences, save_splits
    from genrec.data.sources import find_source

    source = find_source(config.data.source)
    preparation = source.prepare(config.data, config.run.seed)
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


def sources(config: Config) -> dict[str, str]:
    """Fingerprints of the raw files that are there."""
    from genrec.artifacts import sample_fingerprint
    from genrec.data.sources import find_source

    files = find_source(config.data.source).raw_files(config.data, config.run.seed)
    return {role: sample_fingerprint(path) for role, path in files.items()}


def prepare_frames(events: Any, items: Any | None = None, *, run_dir: str | Path, **knobs: Any) -> RunStore:
    """Frames of polars, pandas, Arrow or datasets -> the data artifact of a run; `knobs` are keys of the section data.

    The frames are kept as <run_dir>/tables/*.parquet, with run.yaml, which names them to every further command:
    genrec run --config quickstart --config <run_dir>/tables/run.yaml
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
    tables.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        with whole_path(Path(files[name])) as beside:
            to_polars(frame, name).write_parquet(beside)
    with whole_path(tables / "run.yaml") as beside:
        beside.write_text(yaml.safe_dump({"run": {"dir": str(run)}, "data": data}, allow_unicode=True), "utf-8")
    stage.run("data", Command(config, clean=False, dry_run=False), build, sources)
    return RunStore(run)


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
