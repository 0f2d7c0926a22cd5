"""What every script of rq/ that makes semantic IDs does: the stage `sids`, or growth of what it made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from genrec.commandline import parse
from genrec.config import Config
from genrec.stage import main, one_line_failures


def command(doc: str, method: str | None = None) -> None:
    """`method` is what the script stands for: it takes the config's place; flags of the call come after it."""
    if method is not None:
        sys.argv[1:1] = ["--method", method]
    asked = parse(section="sids", doc=doc)
    with one_line_failures(asked.config.run.dir):
        if asked.config.sids.add is not None or asked.config.sids.retire:
            grow(asked.config, asked.dry_run)
            return
        if method == "rqkmeans_plus" and not (asked.dry_run or asked.clean):
            take_over(asked.config)
    main("sids", "sids", doc, build)


def grow(config: Config, dry_run: bool) -> None:
    from genrec.quantizers.grow import grow_run, plan

    if dry_run:
        plan(config)
    else:
        grow_run(config)


def take_over(config: Config) -> None:
    from genrec.quantizers.build import take_over_constrained

    take_over_constrained(config)


def build(config: Config, partial: Path) -> dict[str, Any]:
    from genrec.quantizers.build import build

    return build(config, partial)
