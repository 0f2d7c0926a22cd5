"""A multimodal collection small enough to check by hand, in the files of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GENRES = ("Drama", "Comedy", "Action", "Sci-Fi")


def film_id(number: int) -> int:
    """Original ids have gaps: 3, 6, 9, ... for 1, 2, 3, ..."""
    return 3 * number


def write_collection(directory: Path, num_users: int = 12, num_films: int = 40, seed: int = 0) -> Path:
    """Users 101, 102, ... like 6 to 20 films each, 4 or 5 stars, and dislike some; every third film has no text."""
    random = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    films = [film_id(n) for n in range(1, num_films + 1)]
    titles = [f"{f}::Film {f}: The Return (19{f % 100:02d})::{GENRES[f % 4]}|{GENRES[f % 3]}" for f in films]
    (directory / "movies.dat").write_text("\n".join(titles) + "\n", encoding="latin-1")
    lines = []
    for user in range(101, 101 + num_users):
        chosen = random.permutation(films)[: random.integers(8, 24)]
        liked = random.integers(6, min(len(chosen), 20))
        for place, film in enumerate(chosen):
            stars = random.integers(4, 6) if place < liked else random.integers(1, 4)
            lines.append(f"{user}::{film}::{stars}::{1000 + random.integers(0, 10_000)}")
    random.shuffle(lines)
    (directory / "ratings.dat").write_text("\n".join(lines) + "\n")
    texts = ["movie-id\treview", *(f"{f}\tAbout film {f}." for f in films if f % 9)]
    (directory / "text.xls").write_text("\n".join(texts) + "\n", encoding="utf-8")
    people = [f"{user}::{'FM'[user % 2]}::{20 + user % 30}::writer::55105" for user in range(101, 101 + num_users)]
    (directory / "user.dat").write_text("\n".join(people) + "\n")
    return directory


def write_posters(directory: Path, film_ids: list[int], size: tuple[int, int] = (30, 40)) -> Path:
    """One colour a poster: red = id mod 256."""
    from PIL import Image

    directory.mkdir(parents=True, exist_ok=True)
    for film in film_ids:
        Image.new("RGB", size, (film % 256, 100, 200)).save(directory / f"{film}.png")
    return directory
