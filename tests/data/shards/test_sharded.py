"""By shards, in any order of tasks and however often it was stopped, one machine's artifact comes out."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genrec import artifacts
from genrec.artifacts import describe_files
from genrec.config import Data
from genrec.data.catalog import save_catalog
from genrec.data.sequences import save_sequences, save_splits
from genrec.data.shards.sharded import prepare_by_shards
from genrec.data.shards.work import carry_out, in_turn
from genrec.data.sources import find_source
from genrec.errors import ArtifactError, ConfigError
from tests.data.raw import item, review, write_lines

SECOND = 1_400_000_000


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No power is cut here, and a thousand small files need not wait for the disk."""
    monkeypatch.setattr(artifacts, "flush_path", lambda path: None)


def save(preparation, directory):
    """The files of the data artifact, by their hashes."""
    directory.mkdir(parents=True)
    save_catalog(preparation.catalog, directory / artifacts.CATALOG)
    save_sequences(preparation.sequences, directory / artifacts.SEQUENCES)
    save_splits(preparation.splits, directory / artifacts.SPLITS)
    artifacts.write_json(directory / artifacts.REPORT, preparation.report)
    return describe_files(directory)


def at_once(data, directory, seed=7):
    return save(find_source(data.source).prepare(data, seed), directory / "at-once")


def by_shards(data, directory, size, workers=in_turn, seed=7, name="by-shards"):
    return save(prepare_by_shards(data, seed, size, directory / "work", workers).preparation, directory / name)


def shuffled(seed):
    """Workers that finish in any order."""

    def carry(tasks):
        order = list(range(len(tasks)))
        random.Random(seed).shuffle(order)
        return ((place, carry_out(tasks[place])) for place in order)

    return carry


def draw_events(rows=700, users=40, items=25, seed=0, times=None):
    """A shop with ties, repeats and events given twice."""
    draw = np.random.default_rng(seed)
    time = SECOND + draw.integers(0, 40, rows) * 86_400 if times is None else times(draw, rows)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in draw.zipf(1.4, rows) % users],
            "item_id": [f"i{item}" for item in draw.integers(0, items, rows)],
            "timestamp": time,
            "rating": draw.integers(1, 6, rows),
        }
    )
    return pl.concat([frame, frame.sample(rows // 20, seed=seed)])


def write_parts(directory, frame, parts=3, suffix="csv", write=pl.DataFrame.write_csv):
    directory.mkdir(parents=True)
    size = -(-len(frame) // parts)
    for part in range(parts):
        write(frame.slice(part * size, size), directory / f"part-{part}.{suffix}")
    return str(directory)


def write_items(path, items=25):
    titles = [f"Thing {number}" if number % 5 else "" for number in range(items)]
    pl.DataFrame({"item_id": [f"i{n}" for n in range(items)], "title": titles, "brand": "b"}).write_csv(path)
    return str(path)


KNOBS = {
    "chronological": {},
    "leave one out": {"split": "leave_one_out"},
    "random ties": {"ties": "random"},
    "random ties, leave one out": {"ties": "random", "split": "leave_one_out", "user_k": 3},
    "ratings and untitled": {"min_rating": 2, "untitled": "drop"},
    "window": {"st_year": 2014, "st_month": 5, "ed_year": 2014, "ed_month": 6, "user_k": 2, "item_k": 2},
}


@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS.keys())
def test_a_folder_of_parts_is_prepared_hash_for_hash(tmp_path, knobs):
    events = write_parts(tmp_path / "events", draw_events())
    data = Data(source="table", dataset="s", events=events, items=write_items(tmp_path / "items.csv"), **knobs)
    wanted = at_once(data, tmp_path)
    assert by_shards(data, tmp_path, 100_000) == wanted  # a group
    assert by_shards(data, tmp_path, 6_000, shuffled(1), name="more") == wanted


def test_every_order_of_tasks_and_size_of_shards_gives_the_same(tmp_path):
    data = Data(source="table", dataset="s", events=write_parts(tmp_path / "events", draw_events()), ties="random")
    wanted = at_once(data, tmp_path)
    for seed, size in enumerate([2_111, 9_000, 10**6]):
        assert by_shards(data, tmp_path, size, shuffled(seed), name=f"{size}") == wanted


FORMS = {
    "seconds": lambda draw, rows: SECOND + draw.integers(0, 5000, rows),
    "milliseconds that seconds do not tell apart": lambda draw, rows: SECOND * 1000 + draw.integers(0, 9000, rows),
    "order numbers": lambda draw, rows: draw.integers(0, 500, rows),
    "days as numbers": lambda draw, rows: 20_140_101 + draw.integers(0, 28, rows),
    "texts": lambda draw, rows: [f"2014-01-{day:02d} 10:00:00" for day in draw.integers(1, 28, rows)],
}


@pytest.mark.parametrize(
    ("suffix", "form"), [*(("csv", form) for form in FORMS), ("jsonl", "texts"), ("parquet", "seconds")]
)
def test_forms_of_time_and_of_files(tmp_path, suffix, form):
    times = FORMS[form]
    write = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson, "parquet": pl.DataFrame.write_parquet}
    events = write_parts(tmp_path / "events", draw_events(300, times=times), 2, suffix, write[suffix])
    data = Data(source="table", dataset="s", events=events, user_k=3, item_k=3)
    assert by_shards(data, tmp_path, 3_000, shuffled(2)) == at_once(data, tmp_path)


def test_one_part_in_whole_seconds_beside_one_in_finer_ones_is_ordered_by_both(tmp_path):
    whole = draw_events(200, times=lambda draw, rows: (SECOND + draw.integers(0, 20, rows)) * 1000)
    finer = draw_events(200, seed=1, times=lambda draw, rows: SECOND * 1000 + draw.integers(0, 20_000, rows))
    events = write_parts(tmp_path / "events", pl.concat([finer, whole]), 2)
    data = Data(source="table", dataset="s", events=events, user_k=2, item_k=2)
    assert by_shards(data, tmp_path, 10**6) == at_once(data, tmp_path)


def test_a_part_that_alone_would_be_understood_otherwise_is_read_again(tmp_path):
    """All its times are days as numbers; with the others' they are places in an order."""
    days = draw_events(100, times=lambda draw, rows: 20_140_101 + draw.integers(0, 28, rows))
    order = draw_events(300, seed=1, times=lambda draw, rows: draw.integers(0, 90, rows))
    nothing = days.with_columns(pl.lit("soon").alias("timestamp")).head(2)
    directory = tmp_path / "events"
    directory.mkdir()
    for name, frame in {"a": days, "b": order, "c": nothing}.items():
        frame.write_csv(directory / f"{name}.csv")
    data = Data(source="table", dataset="s", events=str(directory), user_k=2, item_k=2)
    assert by_shards(data, tmp_path, 10**6) == at_once(data, tmp_path)


def test_event_types_weigh_as_on_one_machine(tmp_path):
    kinds = np.random.default_rng(3).choice(["view", "cart", "buy", "other"], 735)
    frame = draw_events().with_columns(pl.Series("event_type", kinds))
    events = write_parts(tmp_path / "events", frame)
    data = Data(
        source="table", dataset="s", events=events, event_weights={"view": 0, "cart": 0.5, "buy": 1}, user_k=2, item_k=2
    )
    wanted = at_once(data, tmp_path)
    assert by_shards(data, tmp_path, 6_000, shuffled(1)) == wanted
    loo = data.model_copy(update={"split": "leave_one_out"})
    assert by_shards(loo, tmp_path, 6_000, name="loo") == at_once(loo, tmp_path / "loo-at-once")


def write_reviews(directory, packed=False, quantity=600):
    """Reviews with lines that cannot be used, and records some of which lack a title."""
    draw = np.random.default_rng(1)
    times = SECOND + draw.integers(0, 60, quantity) * 86_400
    lines: list = [
        review(f"u{user}", f"i{thing}", int(time), float(rating))
        for user, thing, time, rating in zip(
            draw.integers(0, 30, quantity),
            draw.integers(0, 20, quantity),
            times,
            draw.integers(1, 6, quantity),
            strict=True,
        )
    ]
    for place, bad in ((17, "no JSON"), (200, '{"asin": "i1"}'), (201, ""), (430, "\x1f\x8b half"), (431, "[1]")):
        lines.insert(place, bad)
    directory.mkdir(exist_ok=True)
    write_lines(directory / ("shop_5.json.gz" if packed else "shop_5.json"), lines)
    write_lines(directory / "meta_shop.json", [item(f"i{n}", title=f"Title {n}" if n % 6 else None) for n in range(19)])
    return Data(source="amazon18", dataset="shop", raw_dir=directory, user_k=3, item_k=3, max_bad_share=0.1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_reviews_is_cut_where_it_is_not_packed_and_bad_lines_keep_their_numbers(tmp_path, packed):
    data = write_reviews(tmp_path / "raw", packed)
    wanted = at_once(data, tmp_path)
    made = prepare_by_shards(data, 7, 4_000 if packed else 15_000, tmp_path / "work", shuffled(1))
    assert save(made.preparation, tmp_path / "by-shards") == wanted
    assert (made.pieces, [path.name for path in made.whole]) == ((1, ["shop_5.json.gz"]) if packed else (4, []))
    lines = json.loads((tmp_path / "by-shards" / artifacts.REPORT).read_text())["read"]["events"]["first_lines"]
    assert lines["not valid JSON"] == [18, 431] and lines["not a JSON object"] == [432]


def test_published_rules_move_the_window_as_on_one_machine(tmp_path):
    data = write_reviews(tmp_path / "raw").model_copy(
        update={"compat": "minionerec", "st_year": 2014, "st_month": 6, "ed_year": 2014, "ed_month": 8}
    )
    assert by_shards(data, tmp_path, 30_000) == at_once(data, tmp_path)
    report = json.loads((tmp_path / "by-shards" / artifacts.REPORT).read_text())
    assert report["window"][0] == "1996-06"  # fewer than 3,000 items


def test_a_table_in_one_file_keeps_the_numbers_of_its_bad_lines(tmp_path):
    path = tmp_path / "events.csv"
    lines = draw_events().write_csv().splitlines()
    lines[300], lines[500] = "u1,,1400000000,5", "u1,i2,never,5"
    for number, text in enumerate(lines):
        assert '"' not in text, number
    path.write_text("\n".join(lines) + "\n")
    data = Data(source="table", dataset="s", events=str(path))
    assert by_shards(data, tmp_path, 6_000) == at_once(data, tmp_path)
    report = json.loads((tmp_path / "by-shards" / artifacts.REPORT).read_text())
    assert report["read"]["events"]["first_lines"] == {"without item_id": [301], "with a bad timestamp": [501]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_bad_lines_of_many_parts_are_counted_in_their_order(tmp_path, suffix):
    write = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson}[suffix]
    events = write_parts(tmp_path / "events", draw_events(), 3, suffix, write)
    bad = {
        "csv": "u1,i1,1400000000,5,6,7\nu1,,1400000000,5\nu1,i2,never,x\n",
        "jsonl": '{"user_id": 1\n[]\n{"user_id": "u1"}\n',
    }
    for part in (2, 0):
        path = tmp_path / "events" / f"part-{part}.{suffix}"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*lines[: 40 + part], bad[suffix], *lines[40 + part :]]))
    data = Data(source="table", dataset="s", events=events, max_bad_share=0.1)
    assert by_shards(data, tmp_path, 6_000, shuffled(3)) == at_once(data, tmp_path)
    alone = data.model_copy(update={"events": str(tmp_path / "events" / f"part-0.{suffix}"), "user_k": 2, "item_k": 2})
    assert by_shards(alone, tmp_path, 2_000, name="alone") == at_once(alone, tmp_path / "alone-at-once")


def test_packed_and_quoted_files_are_pieces_of_their_own(tmp_path):
    path = tmp_path / "events.csv"
    text = draw_events().write_csv(quote_style="always")
    path.write_text(text.replace('"u1"', '"u\n1"'))
    data = Data(source="table", dataset="s", events=str(path))
    made = prepare_by_shards(data, 7, 6_000, tmp_path / "work", in_turn)
    assert made.pieces == 1 and made.groups > 2 and made.whole == [path]
    assert save(made.preparation, tmp_path / "by-shards") == at_once(data, tmp_path)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    packed = data.model_copy(update={"events": f"{path}.gz"})
    assert by_shards(packed, tmp_path, 6_000, name="packed")["splits.npz"] == made_splits(tmp_path)


def made_splits(directory: Path):
    return describe_files(directory / "by-shards")["splits.npz"]


def test_a_job_that_was_stopped_anywhere_is_taken_up_where_it_was(tmp_path):
    data = Data(source="table", dataset="s", events=write_parts(tmp_path / "events", draw_events()), ties="random")
    wanted, carried = at_once(data, tmp_path), []

    def stop_after(tasks_left):
        def carry(tasks):
            for place, task in enumerate(tasks):
                if not tasks_left:
                    raise KeyboardInterrupt
                tasks_left.pop()
                carried.append(task.record)
                yield place, carry_out(task)

        return carry

    for turn in range(100):
        try:
            made = by_shards(data, tmp_path, 7_000, stop_after([None] * 6), name=f"turn-{turn}")
            break
        except KeyboardInterrupt:
            continue
    assert made == wanted and turn > 3
    assert len(carried) == len(set(carried))  # nothing was computed twice


def test_what_cannot_be_used_is_refused_as_on_one_machine(tmp_path):
    frame = draw_events(100)
    planted = {
        "floats": frame.with_columns(pl.col("item_id").str.replace("i(.*)", "$1.0")),
        "mixed": frame.with_columns(
            pl.Series("timestamp", [f"2014-01-{n % 28 + 1:02d}" if n % 2 else str(SECOND) for n in range(len(frame))])
        ),
        "few": frame.head(4),
        "never": frame.with_columns(pl.lit("never").alias("timestamp")),
    }
    for name, bad in planted.items():
        data = Data(source="table", dataset="s", events=write_parts(tmp_path / name, bad, 2))
        with pytest.raises(ArtifactError) as alone:
            at_once(data, tmp_path / name)
        with pytest.raises(ArtifactError) as many:
            by_shards(data, tmp_path / name, 10**6)
        assert str(many.value).split(";")[0].split("(")[0] == str(alone.value).split(";")[0].split("(")[0], name


def test_a_dataset_of_the_hub_is_not_cut(tmp_path):
    data = Data(source="table", dataset="s", events="hf:somebody/shop")
    with pytest.raises(ConfigError, match="is a dataset, which is read at once; leave data.shard_size out"):
        prepare_by_shards(data, 7, 10**6, tmp_path, in_turn)
