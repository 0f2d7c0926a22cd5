"""Item vectors -> semantic IDs by sids.method, distinct unless collisions are kept.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/<dataset>.index.json <dataset>.item.json codes.npy codebooks.npz sid_index.npz quality.json quality.png

    genrec sids --config quickstart --method rqkmeans
    genrec sids --config quickstart --add new.item.json --retire "[12, 40]"   # -> sids_grown/
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from genrec import stage
from genrec.commandline import parse, stage_program
from genrec.config import Config
from genrec.errors import exit_on_failure
from genrec.pipeline import command_of


def main(argv: list[str] | None = None, method: str | None = None) -> None:
    """`method` is what a script of rq/ stands for: it takes the config's place; flags of the call come after it."""
    argv = sys.argv[1:] if argv is None else argv
    if method is not None:
        argv = ["--method", method, *argv]
    command = parse(stage_program(command_of("sids"), __doc__, "sids"), argv)
    with exit_on_failure(command.config.run.dir):
        if command.config.sids.add is not None or command.config.sids.retire:
            grow(command.config, command.dry_run)
            return
        if method == "rqkmeans_plus" and not (command.dry_run or command.clean):
            take_over(command.config)
        stage.run("sids", command, build)


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
