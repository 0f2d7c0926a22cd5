import json

import pytest

from genrec.config import Data
from genrec.data import amazon, texts
from genrec.data.export import write_inter_files
from genrec.data.filters import filter_events
from genrec.data.preparation import prepare_shop
from genrec.data.prepared import Prepared
from tests.data.raw import item, real, review, write_lines, write_shop


def prepare(**knobs):
    data = Data(**knobs)
    return prepare_shop(amazon.read_shop(data, amazon.EDITIONS[data.source]), data, seed=0)


def exported(made, directory, dataset="x"):
    write_inter_files(Prepared(made.catalog, made.sequences, made.splits, 10), directory, dataset, published=True)
    return directory


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()  # the published files of one dataset have CRLF


@pytest.fixture(scope="module")
def industrial(tmp_path_factory):
    made = prepare(
        dataset="Industrial_and_Scientific_full_2013",
        raw_dir=real("amazon18_rawlike"),
        st_year=2013,
        st_month=10,
        ed_year=2018,
        ed_month=11,
        compat="minionerec",
    )
    return made, exported(made, tmp_path_factory.mktemp("industrial"))


@pytest.fixture(scope="module")
def magazines(tmp_path_factory):
    made = prepare(dataset="Magazine_Subscriptions", raw_dir=real("amazon18_raw"), compat="minionerec")
    return made, exported(made, tmp_path_factory.mktemp("magazines"))


def test_industrial_has_the_published_counts(industrial):
    report = industrial[0].report
    assert (report["users"], report["items"]) == (6300, 3106)
    assert report["rows"] == {"train": 29458, "valid": 3682, "test": 3683}


def test_magazines_have_the_published_counts(magazines):
    report = magazines[0].report
    assert (report["users"], report["items"]) == (302, 129)
    assert report["rows"] == {"train": 1413, "valid": 177, "test": 177}


ROWS = ("train.inter", "valid.inter", "test.inter", "user2id", "item2id")


@pytest.mark.parametrize("ending", ROWS)
def test_industrial_equals_the_published_files_row_by_row(industrial, ending):
    golden = real("industrial_2013_2018") / "Industrial_and_Scientific" / f"Industrial_and_Scientific.{ending}"
    assert lines(industrial[1] / f"x.{ending}") == lines(golden)


@pytest.mark.parametrize("ending", ROWS)
def test_magazines_equal_the_published_files_row_by_row(magazines, ending):
    golden = real("amazon18_raw") / "golden_stage1" / "Magazine_Subscriptions" / f"Magazine_Subscriptions.{ending}"
    assert lines(magazines[1] / f"x.{ending}") == lines(golden)


@pytest.mark.parametrize("ending", ["item.json", "inter.json"])
def test_magazines_equal_the_published_json(magazines, ending):
    golden = real("amazon18_raw") / "golden_stage1" / "Magazine_Subscriptions" / f"Magazine_Subscriptions.{ending}"
    assert json.loads((magazines[1] / f"x.{ending}").read_text()) == json.loads(golden.read_text())


def test_industrial_texts_equal_the_published_ones(industrial):
    folder = real("industrial_2013_2018") / "Industrial_and_Scientific"
    golden = json.loads((folder / "Industrial_and_Scientific.item.json").read_text(encoding="utf-8"))
    catalog = industrial[0].catalog
    assert [golden[str(n)]["title"] for n in range(len(golden))] == catalog.title.tolist()
    same = [golden[str(n)]["description"] == text for n, text in enumerate(catalog.text)]
    assert sum(same) >= 3082  # these raw files were made from the published texts, 24 do not survive a second cleaning
    same = [texts.clean_text(golden[str(n)]["categories"]) == path for n, path in enumerate(catalog.categories)]
    assert sum(same) >= 3100  # ours have entities decoded


def test_our_own_rules_count_all_of_the_dirty_magazines():
    data = Data(dataset="Magazine_Subscriptions", raw_dir=real("amazon18_raw"), user_k=1, item_k=1)
    shop = amazon.read_shop(data, amazon.EDITIONS["amazon18"])
    filter_events(shop, data)
    ledger = shop.event_ledger
    assert ledger.dropped == {"of items without a record": 64, "of items without a usable title": 2292}
    assert (ledger.read, ledger.kept) == (2375, 19)
    assert not shop.items["title"].drop_nulls().str.contains("<").any()


def test_titles_are_cleaned_descriptions_joined_categories_kept(tmp_path):
    record = item(
        "a",
        title="<b>Hex</b> bolt &amp; nut",
        description=["First.", "", "<p>Second.</p>"],
        brand="by\nAcme ",
        category=["Industrial &amp; Scientific", "Tapes, Adhesives", "Bolts"],
    )
    events = [review(f"u{u}", "a", 1_400_000_000 + t) for u in range(6) for t in range(6)]
    catalog = prepare(dataset="shop", raw_dir=write_shop(tmp_path, events, [record])).catalog
    assert catalog.title.tolist() == ["Hex bolt & nut"]
    assert catalog.text.tolist() == ["First. Second."]
    assert catalog.brand.tolist() == ["by Acme"]
    assert catalog.categories.tolist() == ["Industrial & Scientific,Tapes, Adhesives,Bolts"]


def test_fields_of_other_types_are_read_and_not_guessed(tmp_path):
    records = [
        {"asin": "a", "title": "T", "description": "one text", "category": [["x", "y"], ["z"]], "brand": None},
        {"asin": "b", "title": 5, "description": {"k": 1}},
    ]
    path = write_lines(tmp_path / "meta.json", records)
    items, ledger = amazon.read_items(path, amazon.EDITIONS["amazon18"], Data(), amazon.pl.Series(["a", "b"]))
    assert items.rows() == [("a", "T", "one text", "", "x,y,z"), ("b", None, "", "", "")]
    assert ledger.dropped == {}


def test_the_last_record_of_an_item_counts_and_the_last_usable_title(tmp_path):
    records = [item("a", title="Old", brand="x"), item("a", title="New", brand="y"), item("a", title=None, brand="z")]
    path = write_lines(tmp_path / "meta.json", [*records, item("never reviewed")])
    items, ledger = amazon.read_items(path, amazon.EDITIONS["amazon18"], Data(), amazon.pl.Series(["a"]))
    assert items.rows() == [("a", "New", "", "z", "")]
    assert ledger.dropped == {"of items that nobody reviewed": 1, "repeating an item": 2} and ledger.kept == 1


def test_the_2023_format(tmp_path):
    events = [
        {
            "rating": 5.0,
            "user_id": f"u{u}",
            "asin": "variant",
            "parent_asin": f"p{t}",
            "timestamp": 1_600_000_000_999 + t,
        }
        for u in range(2)
        for t in range(6)
    ]
    records = [
        {"parent_asin": f"p{t}", "title": f"Item {t}", "description": ["d"], "store": "S", "categories": ["A", "B"]}
        for t in range(6)
    ]
    write_lines(tmp_path / "Toys.jsonl.gz", events)
    write_lines(tmp_path / "meta_Toys.jsonl.gz", records)
    made = prepare(source="amazon23", dataset="Toys", raw_dir=tmp_path, user_k=2, item_k=2)
    assert made.catalog.item_id.tolist() == [f"p{t}" for t in range(6)]
    assert set(made.sequences.time.tolist()) == {1_600_000_000, 1_600_000_001}
    assert (made.catalog.brand[0], made.catalog.categories[0], made.catalog.text[0]) == ("S", "A,B", "d")


def test_every_real_2023_category_is_read_whole():
    folder = real("amazon23_format_sample")
    datasets = [path.name.removesuffix(".jsonl.gz") for path in folder.glob("[!m]*.jsonl.gz")]
    shops = {
        name: amazon.read_shop(Data(source="amazon23", dataset=name, raw_dir=folder), amazon.EDITIONS["amazon23"])
        for name in datasets
    }
    assert len(shops) == 24 and sum(shop.event_ledger.kept for shop in shops.values()) == 3455
    assert all(shop.event_ledger.dropped == {} for shop in shops.values())


@pytest.mark.parametrize("bad", [[], ['{"broken'], ["", '{"asin": null}']])
def test_a_bad_line_changes_no_title(tmp_path, bad):
    """Titles that are no text: once the quick reader took them for titles, and the other did not."""
    titles = {"a": "T", "b": 12345, "c": ["x"], "d": {"v": "x"}, "e": "12345", "f": '["x"]', "g": True, "h": "true"}
    path = write_lines(tmp_path / "meta.json", [*(item(name, title=title) for name, title in titles.items()), *bad])
    items, ledger = amazon.read_items(
        path, amazon.EDITIONS["amazon18"], Data(max_bad_share=1.0), amazon.pl.Series(list(titles))
    )
    assert dict(items.select("item", "title").rows()) == {
        "a": "T", "b": None, "c": None, "d": None, "e": "12345", "f": '["x"]', "g": None, "h": "true",
    }  # fmt: skip
    assert len(items) == 8 and sum(ledger.dropped.values()) == (1 if bad else 0)


def test_a_later_emptier_record_wipes_nothing(tmp_path):
    full = item("a", title="Old", brand="x", description=["first"], category=["A", "B"])
    records = [full, item("b"), item("a", title=None, brand="y", description=[""], category=None), item("a", title="")]
    path = write_lines(tmp_path / "meta.json", records)
    reviewed = amazon.pl.Series(["a", "b"])
    items, ledger = amazon.read_items(path, amazon.EDITIONS["amazon18"], Data(), reviewed)
    assert sorted(items.rows()) == [("a", "Old", "first", "y", "A,B"), ("b", "Title b", "", "", "")]
    assert ledger.dropped == {"repeating an item": 2}
    published = amazon.read_items(path, amazon.EDITIONS["amazon18"], Data(compat="minionerec"), reviewed)[0]
    assert sorted(published.rows())[0] == ("a", "Old", "", "", "")  # their rules: the last record, title aside


def test_half_a_surrogate_pair_is_no_traceback(tmp_path):
    line = (
        '{"asin": "a", "title": "T\\ud800", "description": ["d\\udc00"], "brand": "\\ud83dA", "category": ["\\ud800"]}'
    )
    path = write_lines(tmp_path / "meta.json", [line])
    for compat in ("none", "minionerec"):
        items, _ = amazon.read_items(path, amazon.EDITIONS["amazon18"], Data(compat=compat), amazon.pl.Series(["a"]))
        assert "T" in items["title"][0] and items["item"][0] == "a"
