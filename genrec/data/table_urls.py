"""Tables at a URL of fsspec (data.events s3://BUCKET/events/): copied below data.raw_dir once, and read there.

    <raw_dir>/fetched/<hash of the URL>/<name>    a file, or a folder with all its files

A copy that is there is taken as it is, like every raw file that was downloaded.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from genrec.artifacts import whole_path
from genrec.config import Data
from genrec.data.download import open_destination
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.objects import ObjectStore, bar, explained, open_store
from genrec.windows import TABLE

COPIES = "fetched"  # below raw_dir
ROLES = ("events", "items")


def with_copies(data: Data) -> Data:
    """The same settings, with the places of copies for URLs."""
    return data.model_copy(update={role: str(copy_of(url, data.raw_dir)) for role, url in urls_of(data).items()})


def urls_of(data: Data) -> dict[str, str]:
    if data.source != TABLE:
        return {}
    located = {role: getattr(data, role) for role in ROLES}
    return {role: location for role, location in located.items() if location and "://" in location}


def copy_of(url: str, raw_dir: Path) -> Path:
    name = url.rstrip("/").rpartition("/")[2]
    return raw_dir / COPIES / hashlib.sha256(url.encode()).hexdigest()[:12] / name


def fetch_tables(data: Data) -> Data:
    """The same settings, their tables on this disk; those that are at a URL are copied if they are not yet here."""
    for role, url in urls_of(data).items():
        open_destination(data.raw_dir)
        fetch_table(role, url, copy_of(url, data.raw_dir))
    return with_copies(data)


def fetch_table(role: str, url: str, target: Path) -> None:
    begin, store = time.perf_counter(), open_store(url, f"data.{role}")
    names = list_files(store, role)
    waiting = {name: target / name if name else target for name in names}
    waiting = {name: path for name, path in waiting.items() if not path.exists()}
    for name, path in waiting.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_path(path) as beside, explained(f"{url}/{name}".rstrip("/"), "read", missing=False):
            store.files.get_file(f"{store.root.rstrip('/')}/{name}".rstrip("/"), str(beside), callback=bar(path.name))
    if waiting:
        size = sum(path.stat().st_size for path in waiting.values()) / 2**20
        files = f"{len(waiting):,} file{'s' * (len(waiting) != 1)}"
        note("data", f"fetched {url}: {files}, {size:,.1f} MiB in {time.perf_counter() - begin:.1f} s -> {target}")


def list_files(store: ObjectStore, role: str) -> list[str]:
    """The files of a folder by their paths in it; of a file alone ''."""
    root = store.root.rstrip("/")
    with explained(store.url, "listed", missing=False):
        if store.files.isfile(root):
            return [""]
        found = store.files.find(root)
    if not found:
        raise ArtifactError(f"data.{role} {store.url} is not there; it names a file or a folder of parts")
    return sorted(path.removeprefix(f"{root}/") for path in found)
