"""The collections that can be read, by the name that data.source gives them; a new one is a reader and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from genrec.config import Data
from genrec.data import amazon, minionerec, movielens, own_source, table, toy
from genrec.data.preparation import Preparation, prepare_shop


class DataSource(NamedTuple):
    """Of the section `data` and the run's seed."""

    prepare: Callable[[Data, int], Preparation]
    raw_files: Callable[[Data, int], dict[str, Path]]  # role -> file, of those that are there


def make_amazon_source(edition: amazon.Edition) -> DataSource:
    return DataSource(
        lambda data, seed: prepare_shop(amazon.read_shop(data, edition), data, seed),
        lambda data, seed: amazon.find_raw_files(data, edition),
    )


def find_source(name: str) -> DataSource:
    """One of ours, or a function of the user's."""
    return SOURCES.get(name, OWN)


OWN = DataSource(
    lambda data, seed: prepare_shop(*own_source.read_shop(data), seed),
    lambda data, seed: own_source.find_raw_files(data),
)
SOURCES = {
    **{name: make_amazon_source(edition) for name, edition in amazon.EDITIONS.items()},
    "movielens": DataSource(
        lambda data, seed: prepare_shop(movielens.read_shop(data), data, seed),
        lambda data, seed: movielens.find_raw_files(data),
    ),
    "minionerec": DataSource(
        lambda data, seed: minionerec.read_publication(data),
        lambda data, seed: minionerec.find_raw_files(data),
    ),
    "table": DataSource(
        lambda data, seed: prepare_shop(*table.read_shop(data), seed),
        lambda data, seed: table.find_raw_files(data),
    ),
    "toy": DataSource(
        lambda data, seed: prepare_shop(toy.read_shop(data, seed), data, seed),
        lambda data, seed: toy.find_raw_files(data, seed),
    ),
}
