"""Export to MiniOneRec's CSV/TXT/JSON layout, for other tools; nothing in the pipeline reads it back.

Reads   data/ and sids/
Writes  convert/{train,valid,test}/<dataset>_<core>_<window>.csv, convert/info/*.txt, convert/index/*.json
        and, with --output_path P, a copy under P

    genrec convert --config 0.5b --output_path data/Amazon
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.commandline import Command
from genrec.config import Config
from genrec.errors import ArtifactError, fail
from genrec.launch import note
from genrec.pipeline import artifact_dir, command_of
from genrec.store import RunStore


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Data and SIDs -> the layout; returns the rows a split."""
    from genrec.data.conversion import write_conversion

    store = RunStore.of(config)
    prepared, sids, index = store.prepared(), store.path("sids"), store.index()
    if len(index) != len(prepared.catalog):
        raise ArtifactError(
            f"{sids} has {len(index)} items, the catalogue {len(prepared.catalog)}; run: {command_of('sids')} --clean"
        )
    written = write_conversion(prepared, index, sids, config.data, config.convert, partial)
    note("convert", ", ".join(f"{count:,} {name} rows" for name, count in written.items()))
    return {"rows": written}


def copy_files(command: Command) -> None:
    """The files also under --output_path, whenever it is given."""
    artifact, target = artifact_dir(command.config, "convert"), command.config.convert.output_path
    if target is None or command.dry_run:
        return
    try:
        shutil.copytree(artifact, target, ignore=shutil.ignore_patterns(artifacts.MANIFEST), dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        fail(f"cannot write {target}: {error}; choose another --output_path")
    note("convert", f"also wrote {target}")


def main(argv: list[str] | None = None) -> None:
    copy_files(stage.main("convert", __doc__, build, argv=argv))
