"""A shop's own tables -> the same shop that other readers bring."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genrec.config_checks import validate
from genrec.data.preparation import Preparation, summarize_preparation
from genrec.data.prepared import Prepared
from genrec.data.sequences import load_sequences, save_sequences
from genrec.data.sources import SOURCES
from genrec.data.weights import target_weights
from genrec.errors import ArtifactError, ConfigError
from tests import ROOT

AMAZON14 = ROOT.parent / "shared" / "data" / "amazon14"
START = 1_500_000_000


def prepare(**data) -> Preparation:
    config = validate({"data": {"source": "table", "dataset": "shop", "user_k": 1, "item_k": 1, **data}})
    return SOURCES["table"].prepare(config.data, 0)


def write_events(path: Path, rows: list[tuple], names: str = "user_id,item_id,timestamp") -> str:
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def walk(users: int = 6, events: int = 5) -> list[tuple]:
    """User u takes items u, u + 1, ... a minute apart."""
    return [(f"u{u}", f"i{(u + t) % 7}", START + 1000 * u + 60 * t) for u in range(users) for t in range(events)]


def test_events_alone_make_a_shop_whose_items_are_called_by_their_ids(tmp_path):
    made = prepare(events=write_events(tmp_path / "e.csv", walk()))
    assert made.report["users"] == 6 and made.report["events"] == 30
    assert made.sequences.user_id.tolist() == [f"u{u}" for u in range(6)]
    assert made.catalog.title.tolist() == made.catalog.item_id.tolist()
    first = made.sequences.item[: made.sequences.offset[1]]
    assert made.catalog.item_id[first].tolist() == ["i0", "i1", "i2", "i3", "i4"]
    assert "called by id alone (7)" in "\n".join(summarize_preparation(made.report))


def test_items_bring_titles_texts_categories_and_features(tmp_path):
    items = tmp_path / "i.csv"
    items.write_text(
        "item_id,title,genres,plot,colour\n"
        + "".join(f"i{i},Film {i},Drama|War & Peace,Plot {i}.,{'red' if i % 2 else ''}\n" for i in range(6))
        + "i1,,,,blue\nx,Nobody's,,,\n"
    )
    made = prepare(events=write_events(tmp_path / "e.csv", walk()), items=str(items))
    by_id = {name: row for row, name in enumerate(made.catalog.item_id)}
    row = by_id["i1"]
    assert (made.catalog.title[row], made.catalog.text[row]) == ("Film 1", "Plot 1.")
    assert made.catalog.categories[row] == "Drama,War & Peace"
    colour = made.catalog.features["colour"]
    assert colour[by_id["i0"]] == 0 and colour[row] > 0 and colour[row] != colour[by_id["i3"]] == colour[by_id["i5"]]
    assert made.catalog.title[by_id["i6"]] == "i6"  # it has no row
    dropped = made.report["read"]["items"]["dropped"]
    assert dropped == {"of items that no event names": 1, "repeating an item": 1}


def test_every_line_is_kept_or_counted_by_its_reason_and_line(tmp_path):
    path = tmp_path / "e.csv"
    good = write_events(path, walk())
    text = path.read_text() + ",i1,1500000000\nu1,,1500000000\nu1,i1,\n\nu1,i1,soon\n"
    path.write_text(text)
    account = prepare(events=good, max_bad_share=0.2).report["read"]["events"]
    assert account["read"] == 34 and account["kept"] == 30
    assert account["first_lines"] == {
        "without user_id": [32],
        "without item_id": [33],
        "without timestamp": [34],
        "with a bad timestamp": [36],
    }
    with pytest.raises(ArtifactError, match="4 of 34 lines .* more than data.max_bad_share 0.01:"):
        prepare(events=good)


def test_order_numbers_imply_leave_one_out_and_compare_no_users(tmp_path):
    rows = [(user, item, number) for (user, item, _), number in zip(walk(), [0, 1, 2, 3, 4] * 6, strict=True)]
    events = write_events(tmp_path / "e.csv", rows, "user_id,item_id,position")
    made = prepare(events=events)
    assert made.report["rows"] == {"train": 12, "valid": 6, "test": 6}
    assert any("order numbers within each user" in note for note in made.report["notes"])
    with pytest.raises(ConfigError, match="data.split chronological has no meaning"):
        prepare(events=events, split="chronological")
    with pytest.raises(ConfigError, match="window of years has no meaning"):
        prepare(events=events, st_year=2015, st_month=1)
    data = Prepared(made.catalog, made.sequences, made.splits, 10)
    with pytest.raises(ConfigError, match="half_life 0.5 weighs events by their time"):
        target_weights(data, 0, 0.5)
    save_sequences(made.sequences, tmp_path / "s.npz")
    assert load_sequences(tmp_path / "s.npz").is_order


def test_weights_of_event_types_count_in_the_loss_and_zero_is_never_a_target(tmp_path):
    kinds = ["view", "cart", "purchase", "view", "purchase"]
    rows = [(*row, kind) for row, kind in zip(walk(), kinds * 6, strict=True)]
    events = write_events(tmp_path / "e.csv", [*rows, ("u0", "i1", START, "share")], "user_id,item_id,timestamp,event")
    made = prepare(events=events, split="leave_one_out", event_weights={"view": 0, "cart": 0.5, "purchase": 2})
    assert made.report["read"]["events"]["dropped"] == {"of event types that data.event_weights does not name": 1}
    ends = {name: (split.end % 5).tolist() for name, split in made.splits.items()}
    assert ends == {"train": [1] * 6, "valid": [2] * 6, "test": [4] * 6}  # the views at 0 and 3 are none of them
    weight = target_weights(Prepared(made.catalog, made.sequences, made.splits, 10), 0, 0)
    assert weight[:5].tolist() == [0, 1, 4, 0, 4]  # by type, scaled to mean 1 over the training targets
    save_sequences(made.sequences, tmp_path / "s.npz")
    assert np.array_equal(load_sequences(tmp_path / "s.npz").weight, made.sequences.weight)


def test_of_one_moment_the_heaviest_event_of_an_item_stays(tmp_path):
    rows = [(*row, kind) for row in walk() for kind in ("view", "purchase")]
    events = write_events(tmp_path / "e.csv", rows, "user_id,item_id,timestamp,event")
    made = prepare(events=events, event_weights={"view": 0.1, "purchase": 1})
    assert made.report["events"] == 30 and (made.sequences.weight == 1).all()


@pytest.mark.parametrize(
    "weights, said",
    [
        ({"views": 1, "purchase": 1}, "views is no event type .* did you mean 'view'.*purchase, view"),
        ({"view": 0, "purchase": 0}, "every weight is 0"),
    ],
)
def test_weights_that_no_event_has_are_refused(tmp_path, weights, said):
    rows = [(*row, kind) for row in walk() for kind in ("view", "purchase")]
    events = write_events(tmp_path / "e.csv", rows, "user_id,item_id,timestamp,event")
    with pytest.raises(ConfigError, match=said):
        prepare(events=events, event_weights=weights)


def test_event_types_that_nothing_weighs_are_told(tmp_path, capsys):
    head = "user_id,item_id,timestamp,event"
    rows = [(*row, kind) for row, kind in zip(walk(), ["view", "purchase"] * 15, strict=True)]
    prepare(events=write_events(tmp_path / "e.csv", rows, head), split="leave_one_out")
    assert "event (purchase, view) is not looked at, all events count alike" in capsys.readouterr().out
    alike = [(*row, "buy") for row in walk()]
    prepare(events=write_events(tmp_path / "alike.csv", alike, head), split="leave_one_out")
    assert "is not looked at" not in capsys.readouterr().out


def test_ids_are_strings_and_floats_are_none(tmp_path):
    rows = [(f"00{user[1:]}", item, time) for user, item, time in walk()]
    assert prepare(events=write_events(tmp_path / "a.csv", rows)).sequences.user_id[0] == "000"
    floats = write_events(tmp_path / "b.csv", [(f"{user[1:]}.0", item, time) for user, item, time in walk()])
    with pytest.raises(ArtifactError, match=r"'user_id' of .* holds ids as floats \(0.0, 1.0, 2.0\).*Int64"):
        prepare(events=floats)
    frame = pl.read_csv(floats)
    frame.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(ArtifactError, match="holds ids as floats"):
        prepare(events=str(tmp_path / "b.parquet"))


def test_an_empty_table_and_items_of_another_shop_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="has columns and no rows"):
        prepare(events=write_events(tmp_path / "e.csv", []))
    events, items = write_events(tmp_path / "f.csv", walk()), tmp_path / "i.csv"
    items.write_text("item_id,title\nq,Other\n")
    with pytest.raises(ArtifactError, match="none of the 1 items .*there 'q'; in the events 'i0', 'i1', 'i2'"):
        prepare(events=events, items=str(items))


def test_an_item_is_named_once_for_each_table(tmp_path):
    events, items = write_events(tmp_path / "e.csv", walk(), "user_id,Ware,timestamp"), tmp_path / "i.csv"
    items.write_text("Warennr,title\ni1,One\n")
    made = prepare(events=events, items=str(items), columns={"item": ["Ware", "Warennr"]})
    assert "One" in made.catalog.title
    items.write_text("item_id,title\ni1,One\n")
    with pytest.raises(ConfigError, match="'Warennr' is the item column of no table; .*'Ware', of the items 'item_id'"):
        prepare(events=events, items=str(items), columns={"item": ["Ware", "Warennr"]})


def test_keys_of_a_table_are_refused_elsewhere_and_missing_ones_here():
    with pytest.raises(ConfigError, match="data.events would do nothing for data.source toy"):
        validate({"data": {"source": "toy", "events": "x.csv"}})
    with pytest.raises(ConfigError, match="reads data.events, which is empty"):
        prepare()
    with pytest.raises(ConfigError, match="unknown column 'titel'; did you mean 'title'"):
        validate({"data": {"source": "table", "events": "x.csv", "columns": {"titel": "x"}}})


def test_a_user_of_ten_thousand_events_is_one_user(tmp_path):
    rows = [*walk(), *(("whale", f"i{n % 7}", START + n) for n in range(10_000))]
    made = prepare(events=write_events(tmp_path / "e.csv", rows))
    assert np.diff(made.sequences.offset).max() == 10_000


def test_milliseconds_order_events_within_a_second(tmp_path):
    rows = [("u", f"i{n}", START * 1000 + 900 - 100 * n) for n in range(9)]
    made = prepare(events=write_events(tmp_path / "e.csv", [*rows, *(("v", f"i{n}", START * 1000) for n in range(3))]))
    items = made.catalog.item_id[made.sequences.item].tolist()
    user = made.sequences.user_id.tolist().index("u")
    begin, end = made.sequences.offset[user : user + 2]
    assert items[begin:end] == [f"i{n}" for n in reversed(range(9))]


@pytest.mark.skipif(not AMAZON14.is_dir(), reason="the canonical Beauty set is not here")
def test_the_canonical_beauty_set_has_its_published_counts():
    made = prepare(
        events=str(AMAZON14 / "Beauty" / "interactions.csv.gz"), items=str(AMAZON14 / "Beauty" / "items.csv.gz"),
        user_k=5, item_k=5,
    )  # fmt: skip
    assert [made.report[key] for key in ("users", "items", "events")] == [22_363, 12_101, 198_502]
    assert made.report["rows"]["test"] == made.report["rows"]["valid"] == 22_363
    with gzip.open(AMAZON14 / "Beauty" / "interactions.csv.gz", "rt") as file:
        next(file)
        user, item, _ = next(file).split(",")
    row = made.sequences.user_id.tolist().index(user)
    assert made.catalog.item_id[made.sequences.item[made.sequences.offset[row]]] == item
