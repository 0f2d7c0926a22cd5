"""A made-up collection in the files and sizes of MovieLens-1M, to see that a million ratings go through.

writes  <output_dir>/{ratings.dat movies.dat users.dat}, latin-1 with "::", as the original

python benchmarks/movielens_1m.py --output_dir raw/ml-1m
python UR4Rec/data/dataset_loader.py --dataset ml-1m --data_dir raw/ml-1m
python UR4Rec/scripts/train.py --dataset ml-1m --data_dir raw/ml-1m --output_dir outputs/ur4rec_1m

U users, N films, R ratings

A user has at least 20 ratings, few users have thousands; few films have most of them. A user prefers some genres, and
likes what is popular within them, so there is something to learn; what is learned says nothing of people.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from genrec.cli import run_program
from genrec.config import Section, knob
from genrec.data.movielens import COUNTS, GENRES
from UR4Rec.options import read_options

FEWEST, FIRST_SECOND, YEARS = 20, 956_703_932, 3
BLOCK = 500  # users drawn at once


class CollectionSize(Section):
    output_dir: Path = knob(..., "where the three files go")
    users: int = knob(COUNTS["ml-1m"][0], "how many users", ge=1)
    films: int = knob(COUNTS["ml-1m"][1], "how many films", ge=FEWEST)
    ratings: int = knob(COUNTS["ml-1m"][2], "how many ratings", ge=FEWEST)
    seed: int = knob(0, "of every draw", ge=0)


def main() -> None:
    options = read_options("movielens_1m.py", __doc__, CollectionSize)
    random = np.random.default_rng(options.seed)
    genres = random.integers(1, len(GENRES), size=(options.films, 2))  # (N, 2), the first of GENRES is "unknown"
    counts = draw_counts(options.users, options.films, options.ratings, random)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    write_films(options.output_dir / "movies.dat", genres)
    write_users(options.output_dir / "users.dat", options.users, random)
    write_ratings(options.output_dir / "ratings.dat", counts, genres, random)
    print(f"{options.users:,} users, {options.films:,} films, {counts.sum():,} ratings -> {options.output_dir}")


def draw_counts(users: int, films: int, ratings: int, random: np.random.Generator) -> np.ndarray:
    """Ratings of each user, (U,): at least FEWEST, at most three quarters of the films, `ratings` in all."""
    most = films * 3 // 4
    if not FEWEST * users <= ratings <= most * users:
        sys.exit(f"{ratings} ratings of {users} users, who have {FEWEST} to {most} each")
    share = random.lognormal(sigma=1.1, size=users)
    counts = np.full(users, FEWEST)
    while (left := ratings - int(counts.sum())) > 0:
        open_users = counts < most
        drawn = random.multinomial(left, share * open_users / (share * open_users).sum())
        counts = np.minimum(counts + drawn, most)
    return counts


def write_films(path: Path, genres: np.ndarray) -> None:
    names = ["|".join(dict.fromkeys(GENRES[genre] for genre in pair)) for pair in genres]
    films = [f"{n}::Film {n}, The (19{30 + n % 70})::{name}" for n, name in enumerate(names, start=1)]
    path.write_text("\n".join(films) + "\n", encoding="latin-1")


def write_users(path: Path, users: int, random: np.random.Generator) -> None:
    ages, jobs = random.choice([1, 18, 25, 35, 45, 50, 56], users), random.integers(0, 21, users)
    columns = zip(range(1, users + 1), ages, jobs, strict=True)
    rows = [f"{n}::{'FM'[n % 2]}::{age}::{job}::55105" for n, age, job in columns]
    path.write_text("\n".join(rows) + "\n", encoding="latin-1")


def write_ratings(path: Path, counts: np.ndarray, genres: np.ndarray, random: np.random.Generator) -> None:
    """A user's films are distinct: those with the largest of log popularity, taste and a Gumbel draw."""
    popularity = -0.9 * np.log(1 + random.permutation(len(genres)))  # (N,)
    with path.open("w", encoding="latin-1") as file:
        for begin in range(0, len(counts), BLOCK):
            some = counts[begin : begin + BLOCK]
            taste = random.normal(scale=1.0, size=(len(some), len(GENRES)))[:, genres].mean(axis=2)  # (b, N)
            order = np.argsort(-(popularity + taste + random.gumbel(size=taste.shape)), axis=1)
            for row, count in enumerate(some):
                file.writelines(rate_films(begin + row + 1, order[row, :count], taste[row], random))


def rate_films(user: int, films: np.ndarray, taste: np.ndarray, random: np.random.Generator) -> list[str]:
    """A line a film, in a random order of time; stars follow the taste."""
    chosen = random.permutation(films)
    stars = np.clip(np.rint(3.6 + taste[chosen] + random.normal(scale=0.8, size=len(chosen))), 1, 5).astype(int)
    begin = FIRST_SECOND + random.integers(YEARS * 365 * 86_400)
    seconds = begin + np.cumsum(random.integers(5, 200, size=len(chosen)))
    columns = zip(chosen + 1, stars, seconds, strict=True)
    return [f"{user}::{film}::{star}::{second}\n" for film, star, second in columns]


if __name__ == "__main__":
    run_program(__file__, main)
