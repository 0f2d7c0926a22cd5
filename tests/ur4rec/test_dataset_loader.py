import shutil
from pathlib import Path

import numpy as np
import pytest

from genrec.data import movielens
from genrec.errors import ArtifactError
from tests.ur4rec.small import write_collection
from UR4Rec.data import dataset_loader
from UR4Rec.data.dataset_loader import PUBLISHED, MovieLensDataLoader, load_ml_1m, load_ml_100k, read_texts

FILES = Path(__file__).parent / "files"


@pytest.fixture
def collection(tmp_path):
    return write_collection(tmp_path / "M_ML-100K")


def test_ids_are_contiguous_and_the_original_ones_stay(collection):
    items, sequences, _ = load_ml_100k(collection)
    assert list(items) == list(range(1, 41))
    assert [item["original_id"] for item in items.values()] == [3 * n for n in range(1, 41)]
    assert {i for films in sequences.values() for i in films} <= set(items)


def test_an_item_has_title_genres_and_text_or_what_stands_in_for_it(collection):
    items, _, _ = load_ml_100k(collection)
    assert items[1] == {
        "title": "Film 3: The Return (1903)",
        "genres": ["Sci-Fi", "Drama"],
        "genres_str": "Sci-Fi, Drama",
        "description": "About film 3.",
        "original_id": 3,
    }
    assert items[3]["description"] == "Film 9: The Return (1909). Genres: Comedy, Drama"  # text.xls lacks it


def test_sequences_hold_what_was_liked_in_time_order(collection):
    """Against the file, read again line by line."""
    items, sequences, _ = load_ml_100k(collection)
    rows = [list(map(int, line.split("::"))) for line in (collection / "ratings.dat").read_text().splitlines()]
    for user in {row[0] for row in rows}:
        liked = sorted((row for row in rows if row[0] == user and row[2] >= 4), key=lambda row: row[3])  # stable
        films = [row[1] for row in liked]
        assert [items[i]["original_id"] for i in sequences.get(user, [])] == (films if len(films) >= 5 else [])


def test_ties_in_time_stay_in_file_order_and_short_sequences_go(collection):
    ratings = [f"1::{film}::5::100" for film in (30, 3, 60, 6, 9)] + [f"2::{film}::4::{film}" for film in (3, 6, 9, 12)]
    (collection / "ratings.dat").write_text("\n".join(ratings) + "\n")
    loader = MovieLensDataLoader(collection)
    assert loader.build_user_sequences() == {1: [10, 1, 20, 2, 3]}
    assert loader.build_user_sequences(min_seq_len=4)[2] == [1, 2, 3, 4]
    assert loader.build_user_sequences(min_rating=4.5) == {1: [10, 1, 20, 2, 3]}


def test_users_are_described(collection):
    users = MovieLensDataLoader(collection).load_users()
    assert len(users) == 12
    assert users[101] == {"gender": "M", "age": 31, "occupation": "writer", "zip": "55105"}


@pytest.mark.parametrize("name", ["old.xls", "new.xls"])
def test_text_xls_is_read_as_whatever_file_it_is(tmp_path, name):
    """The two Excel formats, both named .xls, with ids that a spreadsheet keeps as 487.0; and tab-separated text."""
    (tmp_path / "text.xls").write_text(
        "movie-id\treview\n7\tA cowboy doll &amp; a spaceman.\n487\tRoman holiday.\n9\t\n"
    )
    expected = {7: "A cowboy doll & a spaceman.", 487: "Roman holiday."}
    assert read_texts(FILES / name) == read_texts(tmp_path / "text.xls") == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id\ttext\n1\tx\n", "must have the columns movie-id and review, found id, text"),
        (b"movie-id\treview\nseven\tx\n", "a movie-id is not a number"),
        (b"\xd0\xcf\x11\xe0half of a file", "is no Excel file"),
        (b"\xff\xfe\x00broken", "neither an Excel file nor tab-separated UTF-8"),
        (b"", "found no row"),
    ],
)
def test_a_broken_text_file_is_one_line(tmp_path, content, said):
    (tmp_path / "text.xls").write_bytes(content)
    with pytest.raises(ArtifactError, match=said):
        read_texts(tmp_path / "text.xls")


def test_ratings_of_unknown_films_are_counted_not_renumbered(collection):
    with (collection / "ratings.dat").open("a") as file:
        file.write("101::1682::5::1\n")
    loader = MovieLensDataLoader(collection)
    assert 1682 not in loader.ratings.item
    assert "1 of no film of the collection" in loader.report()


def test_a_bad_line_is_an_error_with_its_number(collection):
    content = (collection / "movies.dat").read_text()
    (collection / "movies.dat").write_text("cut\n" + content)
    with pytest.raises(ArtifactError, match=r"movies.dat: 1 of 41 lines .*line 1"):
        load_ml_100k(collection)


def test_the_published_counts_come_out_of_such_files(tmp_path):
    """1,659 films with gaps up to 1682, 943 users of whom 938 have a sequence, 99,309 ratings, 55,024 of them liked."""
    random = np.random.default_rng(0)
    films = np.sort(random.choice(np.arange(1, 1683), 1659, replace=False))
    (tmp_path / "movies.dat").write_text("".join(f"{f}::Film {f}::Drama\n" for f in films))
    (tmp_path / "text.xls").write_text("movie-id\treview\n" + "".join(f"{f}\tText {f}.\n" for f in range(1, 1682)))
    liked = np.r_[np.full(620, 59), np.full(318, 58), np.zeros(5, int)]
    others = np.r_[np.full(907, 47), np.full(36, 46)]
    lines = []
    for user in range(943):
        seen = random.choice(films, liked[user] + others[user], replace=False)
        lines += [f"{user + 1}::{f}::{5 if n < liked[user] else 3}::{n}" for n, f in enumerate(seen)]
    (tmp_path / "ratings.dat").write_text("\n".join(lines) + "\n")
    loader = MovieLensDataLoader(tmp_path)
    assert loader.counts() == PUBLISHED
    assert "the multimodal ML-100K files give" not in loader.report()
    assert "nothing is known" not in loader.report()


PLAIN_ITEMS = [
    f"{n}|Film {n} (1995)|01-Jan-1995||http://x|" + "|".join(["0"] * 8 + ["1"] + ["0"] * 10) for n in (1, 2, 5)
]


def write_plain_100k(directory):
    directory.mkdir(parents=True)
    (directory / "u.item").write_text("\n".join(PLAIN_ITEMS) + "\n", encoding="latin-1")
    (directory / "u.user").write_text("7|24|M|technician|85711\n")
    rows = [(7, film, 5, time) for film, time in ((5, 30), (1, 10), (2, 20))]
    (directory / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def test_plain_100k_comes_by_the_shared_reader_with_plots(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "COUNTS", {"ml-100k": (1, 3, 3)})
    write_plain_100k(tmp_path / "ml-100k")
    plots = tmp_path / "plots.jsonl"
    plots.write_text('{"movie_id": 2, "plot": "A plot."}\n{"movie_id": 5, "plot": "N/A"}\n')
    loader = MovieLensDataLoader(tmp_path, plots=plots)
    items, _, users = loader.load()
    assert [item["description"] for item in items.values()] == [
        "Film 1 (1995). Genres: Drama",
        "A plot.",
        "Film 5 (1995). Genres: Drama",
    ]
    assert loader.build_user_sequences(min_seq_len=3) == {7: [1, 2, 3]}
    assert users == {7: {"age": 24, "gender": "M", "occupation": "technician", "zip": "85711"}}
    assert "the multimodal ML-100K files give 1,659 items" in loader.report()


def test_a_plain_collection_that_is_not_whole_is_refused(tmp_path):
    write_plain_100k(tmp_path / "ml-100k")
    with pytest.raises(ArtifactError, match=r"\(1, 3, 3\).*\(943, 1682, 100000\)"):
        load_ml_100k(tmp_path)


def test_plain_1m(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "COUNTS", {"ml-1m": (1, 5, 5)})
    (tmp_path / "movies.dat").write_text(
        "".join(f"{n}::Film {n} (1995)::Drama|War\n" for n in (1, 20, 300, 3000, 3952))
    )
    (tmp_path / "ratings.dat").write_text("".join(f"9::{n}::4::{n}\n" for n in (3952, 1, 20, 300, 3000)))
    (tmp_path / "users.dat").write_text("9::F::25::10::48067\n")
    items, sequences, users = load_ml_1m(tmp_path)
    assert sequences == {9: [1, 2, 3, 4, 5]} and items[5]["original_id"] == 3952
    assert users[9] == {"gender": "F", "age": 25, "occupation": "10", "zip": "48067"}


def test_the_multimodal_files_are_taken_where_they_lie(collection, tmp_path, monkeypatch):
    monkeypatch.setitem(dataset_loader.PLACES, "ml-100k", collection)
    assert len(load_ml_100k()[0]) == 40
    shutil.rmtree(collection)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(movielens, "COUNTS", {"ml-100k": (1, 3, 3)})
    write_plain_100k(tmp_path / "raw" / "ml-100k")
    assert len(load_ml_100k()[0]) == 3


def test_an_unknown_collection_is_named():
    with pytest.raises(ArtifactError, match="no collection 'ml-20m'; there are: ml-100k, ml-1m"):
        MovieLensDataLoader(dataset_name="ml-20m")


def test_what_can_neither_be_found_nor_fetched_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "OWN_URL", "file:///no/such/place/{dataset}.zip")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="neither the multimodal files.*nor ml-1m.*name their folder as data_dir"):
        load_ml_1m()


def test_a_folder_that_is_given_is_never_downloaded_into(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "obtain_layout", lambda data: pytest.fail("it asks the network"))
    with pytest.raises(ArtifactError, match="there is no folder .*mistyped"):
        load_ml_100k(tmp_path / "mistyped")
    with pytest.raises(ArtifactError, match="neither the multimodal files.*nor ml-100k. Put the files or ml-100k.zip"):
        load_ml_100k(tmp_path)
    assert not list(tmp_path.iterdir())
