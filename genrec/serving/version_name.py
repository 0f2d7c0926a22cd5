"""The name of what answers: a hash of the artifacts that its models read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.pipeline import FAMILY_READS
from genrec.recommender import Recommender


def name_version(shops: Sequence[Recommender]) -> str:
    """A hash of what the models were made of."""
    parts = {}
    for shop in shops:
        reads = {"": shop.place} if is_alone(shop) else {place.name: place for place in places_of(shop)}
        parts[shop.model] = {name: artifacts.directory_fingerprint(place) for name, place in reads.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def is_alone(shop: Recommender) -> bool:
    """A model directory without its run."""
    return shop.sequences is None


def places_of(shop: Recommender) -> list[Path]:
    """The artifacts of a run that a model reads, and the grown SIDs where they are in use."""
    sids = [path for path in sorted((shop.place / "sids").glob("*")) if read_manifest(path)]
    grown = [] if shop.allowed is None else [shop.place / "sids_grown"]
    stages = [shop.place / name for name in ("data", *FAMILY_READS[shop.model]) if name != "sids"]
    return [*dict.fromkeys([*stages, *sids, *grown])]
