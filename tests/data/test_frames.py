"""Frames of any library are the tables that files with their rows would be."""

import os
import subprocess
import sys

import pandas as pd
import polars as pl
import pytest

import genrec
from genrec.config_checks import validate
from genrec.data.frames import read_frames, to_polars
from genrec.errors import ArtifactError, ConfigError
from tests import ROOT

ROWS = [(u, f"i{(u + t) % 7}", 1_500_000_000 + 1000 * u + 60 * t) for u in range(6) for t in range(5)]
EVENTS = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
ITEMS = pl.DataFrame({"item_id": [f"i{i}" for i in range(7)], "title": [f"Song {i}" for i in range(7)]})
KNOBS = {"user_k": 1, "item_k": 1}


def make_all_kinds(frame: pl.DataFrame) -> dict:
    from datasets import Dataset

    return {
        "lazy": frame.lazy(),
        "pandas": frame.to_pandas(),
        "filtered pandas": pd.concat([frame.to_pandas(), frame.to_pandas()])[len(frame) :],
        "arrow": frame.to_arrow(),
        "datasets": Dataset.from_dict(frame.to_dict(as_series=False)),
    }


def test_every_library_gives_the_same_shop():
    data = validate({"data": {"source": "table", "events": "-", **KNOBS}}).data
    first, _ = read_frames(EVENTS, ITEMS, data)
    for events, items in zip(make_all_kinds(EVENTS).values(), make_all_kinds(ITEMS).values(), strict=True):
        shop, _ = read_frames(events, items, data)
        assert shop.items.equals(first.items) and shop.events.user_id.equals(first.events.user_id)
        assert (shop.events.time == first.events.time).all() and (shop.events.item == first.events.item).all()


def test_an_index_with_a_name_would_lose_a_column():
    with pytest.raises(ArtifactError, match=r"events has user_id in its index, with columns item_id, timestamp"):
        to_polars(EVENTS.to_pandas().set_index("user_id"), "events")
    with pytest.raises(ArtifactError, match="must be a DataFrame of polars or pandas.*found dict"):
        to_polars({"a": [1]}, "events")
    gaps = EVENTS.to_pandas().astype({"user_id": float})
    data = validate({"data": {"source": "table", "events": "-", **KNOBS}}).data
    with pytest.raises(ArtifactError, match="holds ids as floats"):
        read_frames(gaps, None, data)


def test_a_run_is_prepared_from_frames_and_follows_their_content(tmp_path):
    store = genrec.prepare(EVENTS, ITEMS.to_pandas(), run_dir=tmp_path / "songs", **KNOBS, split="leave_one_out")
    data = store.prepared()
    assert len(data.sequences) == 6 and sorted(data.catalog.title) == [f"Song {i}" for i in range(7)]
    genrec.prepare(EVENTS, ITEMS, run_dir=tmp_path / "songs", **KNOBS, split="leave_one_out")  # up to date
    with pytest.raises(ArtifactError, match="events is now .*, it was made from.*From Python: clean=True"):
        genrec.prepare(EVENTS.head(25), ITEMS, run_dir=tmp_path / "songs", **KNOBS, split="leave_one_out")
    assert len(pl.read_parquet(tmp_path / "songs/tables/events.parquet")) == len(EVENTS)
    anew = genrec.prepare(EVENTS.head(25), run_dir=tmp_path / "songs", clean=True, **KNOBS, split="leave_one_out")
    assert len(anew.prepared().sequences.item) == 25
    with pytest.raises(ConfigError, match="unknown key 'data.spilt'; did you mean 'data.split'"):
        genrec.prepare(EVENTS, run_dir=tmp_path / "songs", spilt="leave_one_out")


def test_further_commands_know_the_run_by_the_file_beside_the_frames(tmp_path):
    genrec.prepare(EVENTS, run_dir=tmp_path / "songs", **KNOBS, split="leave_one_out")
    command = [sys.executable, "-m", "genrec", "prepare", "--config", str(tmp_path / "songs" / "tables" / "run.yaml")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert "data: up to date" in done.stdout, done.stderr
