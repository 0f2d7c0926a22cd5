"""Artifacts on object storage, or wherever else fsspec reaches: whole or not there, as on a disk.

    URL/<artifact>/manifest.json           written last and in one step: what it lists is whole
    URL/<artifact>/<fingerprint>/<file>    its files
    URL/<artifact>/begun.json              who is making it, while somebody is

An artifact that replaces another one has files of its own, so a reader finds the old one or the new one, and a writer
that is killed leaves the old one. Credentials, endpoints, retries and time-outs are those of fsspec and of its file
systems; they come from the environment.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrec.artifacts import MANIFEST, Manifest, fingerprint_of, parse_manifest, sha256
from genrec.errors import ArtifactError, ConfigError, first_line, one_line
from genrec.pipeline import command_of

BEGUN = "begun.json"
OPTIONS = {"file": {"auto_mkdir": True}, "local": {"auto_mkdir": True}}  # of a file system, by its protocol
INSTALLS = {  # what to install, where fsspec's own words would not do
    **dict.fromkeys(("s3", "s3a"), "pip install 'genrec[s3]'"),
    **dict.fromkeys(("gs", "gcs"), "pip install gcsfs"),
    **dict.fromkeys(("az", "abfs"), "pip install adlfs"),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a download: the disk here
RETRY = "look at the address, the network and the credentials of the environment, and give the command again"


@dataclass(frozen=True)
class ObjectStore:
    """Artifacts below a URL, by their paths in a run. Every method raises ArtifactError in one line where it fails."""

    url: str
    files: Any  # an fsspec file system
    root: str  # the URL as that file system has it

    def url_of(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def path_of(self, *names: str) -> str:
        return "/".join([self.root.rstrip("/"), *names])

    # Reading

    def read_manifest(self, name: str) -> Manifest | None:
        """Of a whole artifact; None where there is none."""
        place = self.url_of(name)
        try:
            with explained(f"{place}/{MANIFEST}", "read"):
                content = self.files.cat_file(self.path_of(name, MANIFEST))
        except FileNotFoundError:
            return None
        manifest = parse_manifest(content, f"{place}/{MANIFEST}", place)
        if (of_files := fingerprint_of(manifest.files)) != manifest.fingerprint:
            differ = f"has the fingerprint {manifest.fingerprint}, its files {of_files}"
            raise ArtifactError(f"{place}/{MANIFEST} {differ}; {send_anew(place, manifest)}")
        return manifest

    def list_artifacts(self, group: str) -> list[str]:
        """The whole artifacts of one directory of a run, such as sids."""
        self.files.invalidate_cache()
        try:
            with explained(self.url_of(group), "listed"):
                entries = self.files.ls(self.path_of(group), detail=True)
        except FileNotFoundError:
            return []
        paths = (entry["name"].rstrip("/") for entry in entries if entry["type"] == "directory")
        names = sorted(f"{group}/{path.rpartition('/')[2]}" for path in paths)
        return [name for name in names if self.read_manifest(name)]

    def get(self, name: str, manifest: Manifest, target: Path) -> list[str]:
        """Its files into a directory, each held against the manifest; those that are whole there already are kept.

        Returns the files that were fetched.
        """
        moved = []
        for path in [path for path in target.rglob("*") if path.is_file()]:
            if path.relative_to(target).as_posix() not in manifest.files:
                path.unlink()
        for file, entry in manifest.files.items():
            path = target / file
            if path.is_file() and not find_fault(path, entry):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            self.get_file(name, manifest, file, path)
            if fault := find_fault(path, entry):
                place = self.url_of(name)
                raise ArtifactError(
                    f"{place}/{manifest.fingerprint}/{file} is damaged: {fault}; {send_anew(place, manifest)}"
                )
            moved.append(file)
        return moved

    def get_file(self, name: str, manifest: Manifest, file: str, path: Path) -> None:
        place = self.url_of(name)
        try:
            with explained(f"{place}/{manifest.fingerprint}/{file}", "read"):
                self.files.get_file(self.path_of(name, manifest.fingerprint, file), str(path), callback=bar(file))
        except FileNotFoundError:
            if self.files.exists(self.path_of(name, file)):
                raise ArtifactError(
                    f"{self.url} is a run directory itself, not what run.remote sends; name it by --run.dir or "
                    "--run.from_run, and a URL of its own by --run.remote"
                ) from None
            raise ArtifactError(
                f"{place} lacks {file}, which its manifest lists. If it was replaced while it was read, give the "
                f"command again; if not, {send_anew(place, manifest)}"
            ) from None

    # Writing

    def put(self, name: str, directory: Path, manifest: Manifest) -> list[str]:
        """A finished artifact, its manifest last; files that an earlier call sent are not sent again.

        Returns the files that were sent.
        """
        before, version = self.read_manifest(name), self.path_of(name, manifest.fingerprint)
        with explained(self.url_of(name), "written", missing=False):
            sizes = self.list_sizes(version)
            moved = [file for file, entry in manifest.files.items() if sizes.get(file) != entry["bytes"]]
            for file in moved:
                self.files.put_file(str(directory / file), f"{version}/{file}", callback=bar(file))
            self.write(self.path_of(name, MANIFEST), (directory / MANIFEST).read_bytes())
            if before and before.fingerprint != manifest.fingerprint:
                self.files.rm(self.path_of(name, before.fingerprint), recursive=True)
        return moved

    def is_whole(self, name: str, manifest: Manifest) -> bool:
        """Whether all files of an artifact lie there in their length."""
        with explained(self.url_of(name), "read", missing=False):
            sizes = self.list_sizes(self.path_of(name, manifest.fingerprint))
        return all(sizes.get(file) == entry["bytes"] for file, entry in manifest.files.items())

    def list_sizes(self, version: str) -> dict[str, int]:
        """{file: bytes} of what lies there. Under a fingerprint a file of the right length is the right one."""
        self.files.invalidate_cache()
        found = self.files.find(version, detail=True)
        return {path.removeprefix(f"{version}/"): entry["size"] for path, entry in found.items()}

    def write(self, path: str, content: bytes) -> None:
        """A small file in one step: where files are written bit by bit, beside its place first."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.files.put_file(file.name, f"{path}.tmp")
        self.files.mv(f"{path}.tmp", path)

    # Who is making an artifact

    def announce(self, name: str) -> None:
        """That this process begins to make it; the first write, so it shows whether we may."""
        own = {"pid": os.getpid(), "host": socket.gethostname(), "began": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        with explained(self.url_of(name), "written", missing=False):
            self.write(self.path_of(name, BEGUN), json.dumps(own).encode())

    def withdraw(self, name: str) -> None:
        with explained(self.url_of(name), "written"):
            try:
                self.files.rm_file(self.path_of(name, BEGUN))
            except FileNotFoundError:
                pass  # another process made it too, and ended before us

    def maker(self, name: str) -> str:
        """Who on another machine began to make it and has not ended, '' where nobody did."""
        try:
            with explained(self.url_of(name), "read"):
                begun = json.loads(self.files.cat_file(self.path_of(name, BEGUN)))
        except FileNotFoundError:
            return ""
        if not isinstance(begun, dict) or begun.get("host") == socket.gethostname():
            return ""
        return one_line(f"process {begun.get('pid')} on {begun.get('host')}, which began {begun.get('began')},")


def open_store(url: str, key: str = "run.remote") -> ObjectStore:
    """What lies below a URL of fsspec; ConfigError, with the key that named it, where there is no way to it."""
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        files, root = url_to_fs(url, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        way_on = INSTALLS.get(protocol, first_line(error))
        raise ConfigError(f"{key} {url} needs a package that is not installed: {way_on}") from None
    except ValueError as error:
        known = "s3://BUCKET/PATH, gs://BUCKET/PATH, file:///DIRECTORY, or what else fsspec knows"
        raise ConfigError(f"{key} {url} cannot be used ({first_line(error)}); it takes {known}") from None
    return ObjectStore(url, files, root)


@contextmanager
def explained(place: str, done: str, missing: bool = True) -> Iterator[None]:
    """Within: whatever a file system fails of is one line of ours. With `missing`, what is not there is the caller's.

    Each file system has errors of its own (botocore's, aiohttp's), so all are taken; a full disk here stays what it is.
    """
    try:
        yield
    except Exception as error:
        if missing and isinstance(error, FileNotFoundError):
            raise
        if done == "read" and isinstance(error, OSError) and error.errno in FULL:
            raise
        raise ArtifactError(f"{place} cannot be {done}: {describe(error)}; {RETRY}") from error


def describe(error: Exception) -> str:
    """What a file system says, with the name of its error where the words alone say little."""
    text = first_line(error)
    return text if isinstance(error, OSError) and " " in text else f"{type(error).__name__}: {text}"


def send_anew(place: str, manifest: Manifest) -> str:
    return f"remove {place}; `{command_of(manifest.stage)}` on a machine that has it whole sends it anew"


def find_fault(path: Path, entry: dict[str, Any]) -> str:
    """How a file differs from what a manifest says of it, '' where it does not."""
    size = path.stat().st_size
    if size != entry["bytes"]:
        return f"{entry['bytes']:,} bytes in the manifest, {size:,} found"
    found = sha256(path)
    return "" if found == entry["sha256"] else f"sha256 {entry['sha256'][:16]} in the manifest, {found[:16]} found"


def bar(file: str) -> Any:
    """fsspec's callback: a progress bar where there is a terminal."""
    from fsspec.callbacks import TqdmCallback

    return TqdmCallback(tqdm_kwargs={"desc": file, "unit": "B", "unit_scale": True, "disable": None, "leave": False})
