"""Whether an artifact's files are still those that its manifest describes.

Every file is hashed when an artifact is first read; its size and time of change are remembered beside it, and as long
as these are the same it is not hashed again. `run.verify always` hashes it in every process.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from stat import S_ISREG
from typing import Any

from genrec.errors import ArtifactError

REMEMBERED = ".verified.json"  # in the artifact; hidden files are no part of it
ALWAYS = "GENREC_VERIFY_ALWAYS"  # environment; `run.verify always` sets it for this process and those that it starts

Files = dict[str, dict[str, Any]]  # name -> sha256, bytes

_verified: set[tuple[str, str]] = set()  # (directory, what its files looked like) of this process


def verify_files(directory: Path, files: Files, command: str) -> None:
    """Raise ArtifactError, with both values, where a file is missing or is not what the manifest says."""
    looks = {name: look_of(directory / name, command, directory) for name in files}
    key = (str(directory.resolve()), json.dumps(looks, sort_keys=True))
    if key in _verified:
        return
    remembered = {} if os.environ.get(ALWAYS) else recall(directory)
    for name, entry in files.items():
        if looks[name][0] != entry["bytes"]:
            refuse(directory, name, f"{entry['bytes']:,} bytes", f"{looks[name][0]:,} bytes", command)
        if remembered.get(name) != [*looks[name], entry["sha256"]]:
            found = sha256(directory / name)
            if found != entry["sha256"]:
                refuse(directory, name, f"sha256 {entry['sha256'][:16]}", found[:16], command)
    _verified.add(key)
    remember(directory, {name: [*looks[name], files[name]["sha256"]] for name in files})


def look_of(path: Path, command: str, directory: Path) -> list[int]:
    """Size, time of change and inode: what changes when a file is written to or replaced."""
    try:
        stat = path.stat()
    except OSError:
        raise ArtifactError(
            f"{directory} lacks {path.name}, which its manifest lists; run: {command} --clean"
        ) from None
    if not S_ISREG(stat.st_mode):
        raise ArtifactError(f"{path} is no file, though the manifest lists it; put it back, or run: {command} --clean")
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def refuse(directory: Path, name: str, made: str, found: str, command: str) -> None:
    raise ArtifactError(
        f"{directory / name} was changed after it was made: {made} in the manifest, {found} there now; "
        f"put the file back, or make the artifact anew: {command} --clean"
    )


def recall(directory: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads((directory / REMEMBERED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # never checked, or torn by a kill: everything is hashed again
    return content if isinstance(content, dict) else {}


def remember(directory: Path, looks: dict[str, list[Any]]) -> None:
    """Best effort: an artifact on a read-only disk is hashed once a process."""
    beside = directory / f"{REMEMBERED}.{os.getpid()}"
    try:
        beside.write_text(json.dumps(looks), encoding="utf-8")
        os.replace(beside, directory / REMEMBERED)
    except OSError:
        beside.unlink(missing_ok=True)


def remember_whole(directory: Path, files: Files) -> None:
    """Of files that were hashed just now."""
    remember(directory, {name: [*look_of(directory / name, "", directory), files[name]["sha256"]] for name in files})


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
