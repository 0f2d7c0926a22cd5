"""Helpers of the data tests: raw files by hand, and where the real ones lie."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def real(name: str) -> Path:
    """A folder of real data, or skip."""
    if not (REAL / name).is_dir():
        pytest.skip(f"real data is not here: {REAL / name}")
    return REAL / name


def review(user: str, item: str, time: int, rating: float = 5.0) -> dict[str, Any]:
    return {"reviewerID": user, "asin": item, "unixReviewTime": time, "overall": rating}


def write_lines(path: Path, lines: list[Any]) -> Path:
    """Records as JSON, strings as they are; gzip when the name says so."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_shop(directory: Path, reviews: list[Any], items: list[Any], dataset: str = "shop") -> Path:
    write_lines(directory / f"{dataset}_5.json.gz", reviews)
    write_lines(directory / f"meta_{dataset}.json.gz", items)
    return directory


def item(asin: str, **fields: Any) -> dict[str, Any]:
    return {"asin": asin, "title": f"Title {asin}", "description": [], "brand": "", "category": [], **fields}
