"""The collections that can be read, by the name that data.source gives them; a new one is a reader and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from genrec.config import Config
from genrec.data import amazon, minionerec, movielens, toy
from genrec.data.preparation import Preparation, prepare_shop


class Source(NamedTuple):
    prepare: Callable[[Config], Preparation]
    raw_files: Callable[[Config], dict[str, Path]]  # role -> file, of those that are there


def amazon_source(edition: amazon.Edition) -> Source:
    return Source(
        lambda config: prepare_shop(amazon.read(config.data, edition), config.data),
        lambda config: amazon.raw_files(config.data, edition),
    )


SOURCES = {
    **{name: amazon_source(edition) for name, edition in amazon.EDITIONS.items()},
    "movielens": Source(
        lambda config: prepare_shop(movielens.read(config.data), config.data),
        lambda config: movielens.raw_files(config.data),
    ),
    "minionerec": Source(
        lambda config: minionerec.read(config.data),
        lambda config: minionerec.raw_files(config.data),
    ),
    "toy": Source(
        lambda config: prepare_shop(toy.read(config.data, config.run.seed), config.data),
        lambda config: toy.raw_files(config.data, config.run.seed),
    ),
}
