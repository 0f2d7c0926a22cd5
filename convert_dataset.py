"""Export to MiniOneRec's CSV/TXT/JSON layout, for other tools; nothing in the pipeline reads it back.

Reads   data/ and sids/
Writes  convert/{train,valid,test}/<dataset>_<core>_<window>.csv, convert/info/*.txt, convert/index/*.json
        and, with --output_path P, a copy under P

    python convert_dataset.py --config config/0.5b.yaml --output_path data/Amazon
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.commandline import Command
from genrec.config import Config


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Data and SIDs -> the layout; returns the rows a split."""
    from genrec.data.conversion import convert
    from genrec.data.prepared import load_prepared
    from genrec.sids import load_index

    prepared, sids = load_prepared(config), stage.stage_dir(config, "sids")
    index = load_index(sids / artifacts.SID_INDEX)
    if len(index) != len(prepared.catalog):
        raise artifacts.ArtifactError(
            f"{sids} has {len(index)} items, the catalogue {len(prepared.catalog)}; "
            f"run: python {stage.STAGES['sids'].script} --clean"
        )
    written = convert(prepared, index, sids, config.data, partial)
    stage.note("convert", ", ".join(f"{count:,} {name} rows" for name, count in written.items()))
    return {"rows": written}


def copy_out(command: Command) -> None:
    """The files also under --output_path, whenever it is given."""
    source, target = stage.stage_dir(command.config, "convert"), command.config.convert.output_path
    if target is None or command.dry_run:
        return
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(artifacts.MANIFEST), dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        stage.fail(f"cannot write {target}: {error}; choose another --output_path")
    stage.note("convert", f"also wrote {target}")


if __name__ == "__main__":
    copy_out(stage.main("convert", "convert", __doc__, build))
