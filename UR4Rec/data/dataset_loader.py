"""MovieLens for UR4Rec: every film with its text, and each user's liked films in time order.

reads   M_ML-100K/{movies.dat ratings.dat text.xls user.dat image/} under UR4Rec/data/Multimodal_Datasets where it lies,
        otherwise plain MovieLens as the main pipeline reads it (from raw/, downloaded where it is not there)

    python UR4Rec/data/dataset_loader.py
    python UR4Rec/data/dataset_loader.py --dataset ml-1m --data_dir DIR --plots FILE.omdb.jsonl
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

import csv
import io
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genrec.cli import run_program
from genrec.config import Data
from genrec.data import movielens
from genrec.data.ledger import Ledger
from genrec.data.movielens import Layout
from genrec.data.ndjson import check_bad_share
from genrec.data.texts import clean_text, clean_title
from genrec.errors import ArtifactError, exit_on_failure
from genrec.launch import note
from genrec.places import PACKAGE, from_home
from UR4Rec.data.posters import posters_by_id
from UR4Rec.extras import import_extra
from UR4Rec.options import CollectionOptions, read_options

HOME = PACKAGE.parent / "UR4Rec" / "data" / "Multimodal_Datasets"
PLACES = {"ml-100k": HOME / "M_ML-100K", "ml-1m": HOME / "M_ML-1M"}
MULTIMODAL = Layout(
    "ratings.dat", "movies.dat", "user.dat", ("::", "::"), False, "latin-1", movielens.parse_1m_film
)  # the files of the multimodal collections, beside TEXTS and IMAGES
TEXTS, IMAGES = "text.xls", "image"
EXCEL = (b"\xd0\xcf\x11\xe0", b"PK\x03\x04")  # how .xls and .xlsx files begin

MOST_STARS, MOST_SECONDS = 1e6, 2**40  # beyond them a line's numbers are no rating and no time
MIN_RATING, MIN_SEQ_LEN = 4.0, 5  # a rating from which on a film is liked; the shortest sequence that is kept
BAD_SHARE = Data().max_bad_share

# What the multimodal ML-100K files give: films, users, ratings, liked ratings, sequences.
PUBLISHED = {"items": 1659, "users": 943, "ratings": 99_309, "liked": 55_024, "sequences": 938}

AGE_FIRST, GENDER_FIRST = ("age", "gender", "occupation", "zip"), ("gender", "age", "occupation", "zip")
USER_COLUMNS = {
    "u.user": AGE_FIRST,
    "ml-100k.user": AGE_FIRST,
    "users.dat": GENDER_FIRST,
    "user.dat": GENDER_FIRST,
    "ml-1m.user": AGE_FIRST,
}

ItemMetadata = dict[int, dict[str, Any]]  # {1..N: {"title", "genres", "genres_str", "description", "original_id"}}
UserSequences = dict[int, list[int]]  # {user: item ids 1..N, oldest first}


class Ratings(NamedTuple):
    """In file order; films and users by the collection's own ids. T ratings."""

    user: np.ndarray  # (T,) int64
    item: np.ndarray  # (T,) int64
    rating: np.ndarray  # (T,) float32
    time: np.ndarray  # (T,) int64, seconds


def load_ml_100k(data_dir: Path | str | None = None, plots: Path | str | None = None):
    """(item_metadata, user_sequences, users) of MovieLens-100K; see MovieLensDataLoader."""
    return MovieLensDataLoader(data_dir, "ml-100k", plots).load()


def load_ml_1m(data_dir: Path | str | None = None, plots: Path | str | None = None):
    """(item_metadata, user_sequences, users) of MovieLens-1M; see MovieLensDataLoader."""
    return MovieLensDataLoader(data_dir, "ml-1m", plots).load()


class MovieLensDataLoader:
    """One collection, multimodal or plain.

    Films are numbered 1..N without gaps in the order of their own ids, which stay in `original_id`; 0 is padding.
    `data_dir` is the folder of the multimodal files, or of plain MovieLens or its zip; without it plain MovieLens is
    downloaded where it is not there. `plots` is a file of JSON lines (movie_id, plot) for plain MovieLens, by default
    <dataset>.omdb.jsonl beside the ratings.
    """

    def __init__(
        self, data_dir: Path | str | None = None, dataset_name: str = "ml-100k", plots: Path | str | None = None
    ):
        if dataset_name not in PLACES:
            raise ArtifactError(f"no collection '{dataset_name}'; there are: {', '.join(PLACES)}")
        home = PLACES[dataset_name]
        check_given(data_dir, plots)
        self.dataset_name = dataset_name
        self.directory = Path(data_dir) if data_dir else (home if is_multimodal(home) else from_home(Data().raw_dir))
        self.multimodal = is_multimodal(self.directory)
        self.layout = MULTIMODAL
        self.plots = Path(plots) if plots else None
        if self.plots and self.multimodal:
            note("data", f"{self.plots} is not read: the multimodal files have texts of their own, {TEXTS}")
        self.ledgers = {"ratings": Ledger("ratings"), "movies": Ledger("movies")}
        if not self.multimodal:
            data = Data(source="movielens", dataset=dataset_name, raw_dir=self.directory)
            self.layout, self.directory = movielens.find_layout(data) or obtain(data, given=data_dir is not None)
            self.plots = self.plots or movielens.find_plots_file(data, self.directory)

    def load(self) -> tuple[ItemMetadata, UserSequences, dict[int, dict[str, Any]]]:
        return self.build_item_metadata(), self.build_user_sequences(), self.load_users()

    @property
    def image_dir(self) -> Path | None:
        """Where the posters lie, image/<original id>.png."""
        return self.directory / IMAGES if (self.directory / IMAGES).is_dir() else None

    @cached_property
    def movies(self) -> dict[int, tuple[str, list[str]]]:
        parse = self.layout.film
        rows = self.rows(
            "movies", self.layout.items, self.layout.separators[1], lambda fields: parse_film(fields, parse)
        )
        films = {}
        for film, title, genres in rows:
            films.setdefault(film, (clean_title(title) or f"Movie {film}", genres))
        self.ledgers["movies"].drop("of the id of an earlier film", len(rows) - len(films))
        return films

    @cached_property
    def ratings(self) -> Ratings:
        """All ratings of the collection's films; those of others are counted."""
        ledger = self.ledgers["ratings"]
        rows = self.rows("ratings", self.layout.events, self.layout.separators[0], parse_rating)
        user, item, rating, time = (np.array(column) for column in zip(*rows, strict=True))
        own = np.isin(item, list(self.movies))
        ledger.drop("of no film of the collection", int((~own).sum()))
        ratings = Ratings(user[own], item[own], rating[own].astype(np.float32), time[own])
        ledger.check(len(ratings.user))
        if not self.multimodal:
            counts = len(np.unique(ratings.user)), len(self.movies), len(ratings.user)
            movielens.check_counts(self.dataset_name, self.directory, counts, *self.ledgers.values())
        return ratings

    def rows(self, name: str, file: str, separator: str, parse: Any) -> list[tuple]:
        """Parsed lines; too many that cannot be parsed are an error."""
        ledger, path = self.ledgers[name], self.directory / file
        if not path.is_file():
            raise ArtifactError(f"{path} is {'a directory, not a file' if path.is_dir() else 'missing'}")
        ledger.read, ledger.dropped = 0, {}
        rows = list(movielens.parse_lines(path, separator, self.layout, parse, ledger))
        check_bad_share(ledger, path, BAD_SHARE)
        if not rows:
            raise ArtifactError(f"{path} holds no line of {name}")
        return rows

    def load_text_descriptions(self) -> dict[int, str]:
        """{original id: text}: column `review` of text.xls, or the plots of the optional file; {} without either."""
        if self.multimodal:
            return read_texts(self.directory / TEXTS)
        return number_plots(self.plots) if self.plots else {}

    def load_users(self) -> dict[int, dict[str, Any]]:
        """{user: {"gender", "age", "occupation", "zip"}}; {} where the file is missing."""
        path = self.directory / self.layout.users
        if not path.exists():
            note("data", f"no {path}; nothing is known of the users")
            return {}
        self.ledgers["users"] = Ledger("users")
        columns = USER_COLUMNS[self.layout.users]
        return dict(self.rows("users", self.layout.users, self.layout.separators[1], lambda f: parse_user(f, columns)))

    @cached_property
    def number(self) -> dict[int, int]:
        """{original id: 1..N}"""
        return {film: number for number, film in enumerate(sorted(self.movies), start=1)}

    def build_item_metadata(self) -> ItemMetadata:
        """A film without a text is described by its title and genres."""
        texts, items = self.load_text_descriptions(), {}
        for film, number in self.number.items():
            title, genres = self.movies[film]
            names = ", ".join(genres)
            items[number] = {
                "title": title,
                "genres": genres,
                "genres_str": names,
                "description": texts.get(film) or plain_description(title, names),
                "original_id": film,
            }
        return items

    def build_user_sequences(self, min_rating: float = MIN_RATING, min_seq_len: int = MIN_SEQ_LEN) -> UserSequences:
        """{user: films rated at least min_rating}, in time order, ties in file order, of at least min_seq_len."""
        liked = np.flatnonzero(self.ratings.rating >= min_rating)
        order = liked[np.lexsort((self.ratings.time[liked], self.ratings.user[liked]))]  # stable
        users, begins = np.unique(self.ratings.user[order], return_index=True)
        histories = np.split(self.ratings.item[order], begins[1:]) if len(users) else []
        return {
            int(user): [self.number[int(film)] for film in films]
            for user, films in zip(users, histories, strict=True)
            if len(films) >= min_seq_len
        }

    def counts(self, min_rating: float = MIN_RATING, min_seq_len: int = MIN_SEQ_LEN) -> dict[str, int]:
        return {
            "items": len(self.movies),
            "users": len(np.unique(self.ratings.user)),
            "ratings": len(self.ratings.user),
            "liked": int((self.ratings.rating >= min_rating).sum()),
            "sequences": len(self.build_user_sequences(min_rating, min_seq_len)),
        }

    def report(self) -> str:
        """What was read, beside what the multimodal ML-100K files give."""
        lines = [f"{self.dataset_name} ({'multimodal' if self.multimodal else 'plain'} files in {self.directory})"]
        lines += [ledger.line() for ledger in self.ledgers.values() if ledger.dropped]
        lines.append(show_counts(self.counts()))
        if self.dataset_name == "ml-100k" and self.counts() != PUBLISHED:
            lines.append(f"the multimodal ML-100K files give {show_counts(PUBLISHED)}")
        texts = len(self.load_text_descriptions().keys() & self.movies.keys())
        posters = len(posters_by_id(self.image_dir).keys() & self.movies.keys()) if self.image_dir else 0
        lines.append(f"{texts:,} films have a text of their own, {posters:,} a poster")
        return "\n".join(lines)


def check_given(data_dir: Path | str | None, plots: Path | str | None) -> None:
    """What a flag names must be there: a name that is mistyped is no place to download into."""
    if data_dir and not Path(data_dir).is_dir():
        raise ArtifactError(f"there is no folder {data_dir}; name the one of the files, or leave data_dir out")
    if plots and not Path(plots).is_file():
        raise ArtifactError(f"there is no file {plots} of plots; name the one with movie_id and plot, or leave it out")


def require_sequences(sequences: UserSequences, min_rating: float = MIN_RATING, min_seq_len: int = MIN_SEQ_LEN) -> None:
    if not sequences:
        raise ArtifactError(
            f"no user of the collection has {min_seq_len} ratings of {min_rating:g} or more; nothing can be made of it"
        )


def obtain(data: Data, given: bool) -> tuple[Layout, Path]:
    """Plain MovieLens out of its zip, fetched where no folder was given; or one line with this program's ways on."""
    if given and movielens.find_archive(data) is None:
        raise ArtifactError(
            f"{data.raw_dir} holds neither the multimodal files ({MULTIMODAL.events}, {MULTIMODAL.items}, {TEXTS}) nor "
            f"{data.dataset}. Put the files or {data.dataset}.zip there, or leave data_dir out to have it fetched"
        )
    try:
        return movielens.obtain_layout(data)
    except ArtifactError as error:
        raise ArtifactError(
            f"{data.raw_dir} holds neither the multimodal files ({MULTIMODAL.events}, {MULTIMODAL.items}, {TEXTS}) nor "
            f"{data.dataset}, which cannot be fetched: {str(error).split('. Ways on')[0]}. Put the files or "
            f"{data.dataset}.zip there, or name their folder as data_dir"
        ) from None


def is_multimodal(directory: Path) -> bool:
    return all((directory / name).is_file() for name in (MULTIMODAL.events, MULTIMODAL.items, TEXTS))


def parse_rating(fields: list[str]) -> tuple[int, int, float, int]:
    """Numbers that are no ids, ratings or times are a bad line's."""
    try:
        user, item, time, rating = movielens.parse_event(fields)
    except OverflowError:
        raise ValueError("an infinite time") from None
    if not (abs(rating) <= MOST_STARS and abs(time) < MOST_SECONDS):
        raise ValueError(f"a rating of {rating} at {time}")
    return parse_id(user), parse_id(item), rating, time


def parse_id(text: str) -> int:
    number = int(text) if text.isascii() else -1
    if not 0 <= number < 2**63:
        raise ValueError(f"{text!r} is no id")
    return number


def parse_film(fields: list[str], parse: Any) -> tuple[int, str, list[str]]:
    film, title, genres = parse(fields)
    return parse_id(film), title, [clean_text(genre) for genre in genres]


def parse_user(fields: list[str], columns: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    person = dict(zip(columns, fields[1:5], strict=True))
    return parse_id(fields[0]), {**person, "age": int(person["age"])}


def plain_description(title: str, genres: str) -> str:
    return f"{title}. Genres: {genres}" if genres else title


def read_texts(path: Path) -> dict[int, str]:
    """Columns `movie-id` and `review` of an Excel file, old or new, or of tab-separated text with such a name."""
    rows = read_sheet(path)
    header = [str(name).strip().lower() for name in rows[0]] if rows else []
    if not {"movie-id", "review"} <= set(header):
        raise ArtifactError(f"{path} must have the columns movie-id and review, found {', '.join(header) or 'no row'}")
    film, review = header.index("movie-id"), header.index("review")
    full = [row for row in rows[1:] if len(row) > max(film, review) and str(row[film]).strip()]
    try:  # a spreadsheet's whole numbers come as 487.0
        reviews = {int(float(row[film])): clean_text(str(row[review] or "")) for row in full}
    except (ValueError, OverflowError) as error:
        raise ArtifactError(f"{path}: a movie-id is not a number ({error})") from None
    return {number: text for number, text in reviews.items() if text}


def number_plots(path: Path) -> dict[int, str]:
    """{original id: plot}"""
    try:
        return {parse_id(film): plot for film, plot in movielens.read_plots(path).items()}
    except ValueError as error:
        raise ArtifactError(f"{path}: a movie_id is no number ({error})") from None


def read_sheet(path: Path) -> list[list[Any]]:
    """Rows of the first sheet; the first bytes say what kind of file it is, not the name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith(EXCEL):
        calamine = import_extra("python_calamine", f"{path}, an Excel file,")
        try:
            return calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
        except calamine.CalamineError as error:
            raise ArtifactError(f"{path} is no Excel file: {error}") from None
    longest = csv.field_size_limit(len(content) + 1)  # the module's own is 131,072 characters
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter="\t"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{path} is neither an Excel file nor tab-separated UTF-8 text: {error}") from None
    finally:
        csv.field_size_limit(longest)


def show_counts(counts: dict[str, int]) -> str:
    return (
        f"{counts['items']:,} items, {counts['users']:,} users, {counts['ratings']:,} ratings, "
        f"{counts['liked']:,} of them {MIN_RATING} or more, {counts['sequences']:,} sequences of {MIN_SEQ_LEN} or more"
    )


def main() -> None:
    options = read_options("dataset_loader.py", __doc__, CollectionOptions)
    with exit_on_failure(options.data_dir or Path(".")):
        loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
        print(loader.report())
        item_metadata, user_sequences, _ = loader.load()
        require_sequences(user_sequences)
        user, items = next(iter(user_sequences.items()))
        titles = ", ".join(item_metadata[item]["title"] for item in items[:5])
        print(f"\nitem 1: {item_metadata[1]}\nuser {user}: {titles}, ...")


if __name__ == "__main__":
    run_program(__file__, main)
