"""A source of data that is a function of one's own: the road of a table, with its name before every error."""

import json
import sys

import polars as pl
import pytest

from genrec.config import Data
from genrec.config_checks import validate
from genrec.data.prompts import choose_wording
from genrec.data.sources import SOURCES, find_source
from genrec.errors import ArtifactError, ConfigError
from genrec.plugins import SOURCE, fingerprint_plugin
from genrec.stage import read_manifest
from genrec.stages import prepare
from tests import ROOT
from tests.data.test_table import walk
from tests.test_plugins import module

__all__ = ["module"]

EVENTS = (
    f"import polars as pl\nROWS = {walk()}\n"
    "def events(): return pl.DataFrame(ROWS, ['user', 'item', 'time'], orient='row')\n"
)
SMALL = {"dataset": "shop", "user_k": 1, "item_k": 1}


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield "plugins"
    sys.modules.pop("plugins", None)


def test_what_a_function_gives_is_what_a_table_of_it_gives(tmp_path, module):
    name = module(EVENTS + "def shop(data):\n    return events()\n")
    pl.DataFrame(walk(), ["user", "item", "time"], orient="row").write_csv(tmp_path / "e.csv")
    own = find_source(f"{name}:shop").prepare(validate({"data": SMALL | {"source": "mine:shop"}}).data, 0)
    table = validate({"data": SMALL | {"source": "table", "events": str(tmp_path / "e.csv")}}).data
    same = SOURCES["table"].prepare(table, 0)
    assert own.sequences.item.tolist() == same.sequences.item.tolist()
    assert own.catalog.title.tolist() == same.catalog.title.tolist()
    assert own.report["rows"] == same.report["rows"]


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_frames_of_other_libraries_are_taken(module, library):
    to = {"pandas": "to_pandas", "pyarrow": "to_arrow"}[library]
    name = module(EVENTS + f"def shop(data):\n    return events().{to}(), None\n")
    made = find_source(f"{name}:shop").prepare(validate({"data": SMALL | {"source": "mine:shop"}}).data, 0)
    assert made.report["users"] == 6


def test_the_example_becomes_an_artifact_that_names_its_source(tmp_path, examples, capsys):
    flags = ["--data.source", "plugins:orders", "--dataset", "orders", "--run.dir", str(tmp_path / "run")]
    prepare.main(flags)
    assert "customer_id" in capsys.readouterr().out
    made = read_manifest(tmp_path / "run/data")
    assert made and made.made["config"]["data.source"] == "plugins:orders"
    assert made.inputs["source of plugins:orders"] == fingerprint_plugin("plugins:orders", SOURCE)
    report = json.loads((tmp_path / "run/data/report.json").read_text())
    assert report["users"] == 300 and report["items"] <= 40


def test_a_file_that_the_function_reads_is_fingerprinted(tmp_path, module):
    name = module("import polars as pl\ndef shop(data):\n    return pl.read_csv(data.events)\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.xml").write_text("x")
    data = Data(source=f"{name}:shop", events=str(tmp_path / "mine.py"), items=str(tmp_path / "parts"), dataset="shop")
    assert set(find_source(data.source).raw_files(data, 0)) == {"events", "items/a.xml"}
    assert find_source(data.source).raw_files(Data(source=data.source, dataset="shop"), 0) == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "data source mine:shop gave int; it must give a frame of events, or .events, items."),
        ("return events(), 3", "mine:shop gave int as items"),
        ("return None, events()", "mine:shop gave NoneType as events"),
        ("raise OSError('no such database')", r"mine:shop failed: OSError: no such database \(mine.py, line 5\)"),
        ("return events().drop('time')", "data source mine:shop: events has no column that is known to be the time"),
        ("return events().cast({'user': str}).with_columns(user=pl.lit(1.0))", "mine:shop: .*ids as floats"),
        ("return events().head(0)", "data source mine:shop: events has columns and no rows"),
        ("return events().to_pandas().set_index('user')", "data source mine:shop: .*index"),
    ],
)
def test_what_is_no_shop_is_told_with_the_name_of_the_function(module, body, message):
    name = module(f"{EVENTS}def shop(data):\n    {body}\n")
    config = validate({"data": SMALL | {"source": f"{name}:shop"}})
    with pytest.raises((ArtifactError, ConfigError), match=message):
        find_source(config.data.source).prepare(config.data, 0)


def test_a_function_gets_what_a_shop_of_ones_own_gets(module):
    name = module(EVENTS + "def shop(data):\n    return events()\n")
    data = validate({"data": {"source": f"{name}:shop", "columns": {"user": "who"}, "dataset": "AMAZON_FASHION"}}).data
    assert (data.untitled, data.split, data.st_year) == ("keep", "auto", None)
    assert choose_wording(data).items == "items"
    with pytest.raises(ConfigError, match="mine:shop and data.compat minionerec exclude each other"):
        validate({"data": {"source": f"{name}:shop", "compat": "minionerec"}})
    with pytest.raises(ConfigError, match="unknown data source 'tabel'; did you mean 'table'.*module:function"):
        validate({"data": {"source": "tabel"}})
