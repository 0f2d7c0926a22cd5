"""A run whose finished artifacts lie at a URL too (run.remote), so that several machines have it; what is done when.

A stage that begins fetches what it reads and lacks here, and its own artifact where another machine has made it; one
that has ended sends its artifact. The run directory is a working copy, and beside each artifact stands what was last
seen of it at the URL:

    here  there  last seen
    -     B      anything       fetched
    A     -      anything       sent
    A     A      anything       nothing
    A     B      A              fetched: another machine made it anew
    A     B      B              sent: it was made anew here
    A     B      anything else  refused: both made it, and nobody chooses between them
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from genrec import artifacts
from genrec.artifacts import MANIFEST, Manifest, read_manifest
from genrec.config import Config, Run
from genrec.errors import ArtifactError, ConfigError
from genrec.launch import note, rank
from genrec.lock import only_writer
from genrec.objects import ObjectStore, open_store
from genrec.pipeline import artifact_dir, command_of
from genrec.verify import remember_whole

COMING = ".coming"  # behind an artifact's name: what is being fetched
SEEN = ".remote.json"  # .<name>.remote.json, beside an artifact
HEARTBEAT = 1.0  # seconds between two looks of a process that waits for the one that fetches
LONG = 2**30  # bytes, of which a line is said before they are on their way

Move = Literal["none", "fetch", "send", "conflict"]


@dataclass(frozen=True)
class Seen:
    """An artifact as it stood at a URL when this run directory last looked."""

    url: str
    making: str  # '' where there was none


class Compared(NamedTuple):
    """An artifact here and there, and what follows."""

    here: Manifest | None
    there: Manifest | None
    move: Move


def remote_of(config: Config) -> Remote | None:
    """Where the run's artifacts lie beside its directory; None without run.remote."""
    if config.run.remote is None:
        return None
    refuse_own_place(config.run.remote, config.run.dir)
    return Remote(open_store(config.run.remote), config.run.dir)


def refuse_own_place(url: str, run: Path) -> None:
    """A directory in the form of a URL is none of the run's own."""
    protocol, _, place = url.partition("://")
    if protocol in ("file", "local") and Path(place).resolve().is_relative_to(run.resolve()):
        raise ConfigError(
            f"run.remote {url} lies in run.dir {run}, whose artifacts it is to hold too; name another place"
        )


def inherit_remote(run: Run, directory: Path) -> str | None:
    """The URL of a run that a command makes inside of another one: at the same place inside of that one's."""
    if run.remote is None or not directory.is_relative_to(run.dir):
        return None
    return f"{run.remote.rstrip('/')}/{directory.relative_to(run.dir).as_posix()}"


@dataclass(frozen=True)
class Remote:
    """The run at its URL, and its directory here."""

    store: ObjectStore
    run: Path

    def name_of(self, directory: Path) -> str:
        return directory.relative_to(self.run).as_posix()

    def url_of(self, directory: Path) -> str:
        return self.store.url_of(self.name_of(directory))

    def compare(self, directory: Path) -> Compared:
        here, there = read_manifest(directory), self.store.read_manifest(self.name_of(directory))
        return Compared(here, there, choose_move(making_of(here), making_of(there), self.seen(directory)))

    # What was last seen

    def seen(self, directory: Path) -> str | None:
        """The making that stood at this URL, '' where none did; None where nobody looked."""
        path = seen_file(directory)
        if not path.exists():
            return None
        record = artifacts.read_record(path, Seen, f"remove {path}")
        return record.making if record.url == self.url_of(directory) else None

    def remember(self, directory: Path, there: Manifest | None) -> None:
        if self.seen(directory) != (making := making_of(there)):
            seen_file(directory).parent.mkdir(parents=True, exist_ok=True)
            artifacts.write_json(seen_file(directory), asdict(Seen(self.url_of(directory), making)))

    # Moves

    def bring(self, directory: Path, send: bool = True) -> None:
        """An artifact that is read: fetched where it is newer there, sent where it is newer here."""
        if self.compare(directory).move in ("none", *(() if send else ("send",))):
            return
        if rank() > 0:
            self.wait(directory)
            return
        with only_writer(directory):
            restore(directory)
            compared = self.compare(directory)  # another process may have done it meanwhile
            if compared.move == "conflict":
                raise ArtifactError(self.refuse(directory, compared))
            if compared.move == "fetch":
                self.fetch(directory, compared)
            elif compared.move == "send" and send:
                self.send(directory, compared)

    def bring_together(self, directories: Sequence[Path], send: bool = True) -> None:
        """Artifacts of one run. Where another machine is making some of them anew, so that those at the URL do not fit
        together, what is whole here stays."""
        compared = {directory: self.compare(directory) for directory in directories}
        if torn := self.find_misfit(list(compared.values())):
            lacking = [directory for directory in directories if read_manifest(directory) is None]
            if lacking:
                raise ArtifactError(
                    f"{torn}; {lacking[0]} is not here, so wait for that, or make it here without run.remote"
                )
            note("remote", f"{torn}; until then what is here is used")
            return
        for directory, each in compared.items():
            if each.move != "none":
                self.bring(directory, send)

    def find_misfit(self, compared: Sequence[Compared]) -> str:
        """Of artifacts to be fetched, which one was made from another that has been replaced; '' where all fit."""
        if not any(each.move == "fetch" for each in compared):
            return ""
        there = [each.there for each in compared if each.there]
        present: dict[str, set[str]] = {}  # fingerprints by stage, and those that semantic IDs grew from
        for manifest in there:
            own = {manifest.fingerprint, *manifest.statistics.get("grown_from", [])}
            present.setdefault(manifest.stage, set()).update(own)
        for manifest in there:
            for stage, wanted in manifest.inputs.items():
                replaced = stage in present and wanted not in present[stage]
                if replaced and manifest.stage != "evaluation":  # whose table may hold rows of before
                    return self.describe_misfit(manifest, stage, present[stage])
        return ""

    def describe_misfit(self, manifest: Manifest, stage: str, present: set[str]) -> str:
        made, found = (
            f"{manifest.stage} there was made from {stage} {manifest.inputs[stage]}",
            ", ".join(sorted(present)),
        )
        return (
            f"{self.store.url} is being made anew: {made}, {stage} there is {found}, and no "
            f"`{command_of(manifest.stage)}` after it has ended yet"
        )

    def is_torn(self, directory: Path, compared: Compared) -> bool:
        """Whether the same artifact is there, and lacks a file or a part of one."""
        here = compared.here
        return compared.move == "none" and here is not None and not self.store.is_whole(self.name_of(directory), here)

    def wait(self, directory: Path) -> None:
        """Of several processes of a launch the first one fetches; where it fails, its launcher ends the others."""
        while self.compare(directory).move == "fetch":
            time.sleep(HEARTBEAT)

    def fetch(self, directory: Path, compared: Compared) -> None:
        """Into <artifact>.coming, its manifest last, then renamed; what a killed call had fetched is kept."""
        begin, there = time.perf_counter(), compared.there
        assert there is not None, "nothing is fetched that is not there"
        require_own(directory)
        coming = directory.with_name(directory.name + COMING)
        announce_long(there, "fetching", self.url_of(directory))
        with kept_if_filled(coming):
            moved = self.store.get(self.name_of(directory), there, coming)
        artifacts.write_json(coming / MANIFEST, asdict(there))
        remember_whole(coming, there.files)
        artifacts.swap_directory(coming, directory, replaced_of(directory))
        artifacts.remove_directories(replaced_of(directory))
        self.remember(directory, there)
        say(there, moved, "fetched from", self.url_of(directory), begin)

    def send(self, directory: Path, compared: Compared) -> None:
        begin, here = time.perf_counter(), compared.here
        assert here is not None, "nothing is sent that is not here"
        artifacts.require(directory, command_of(here.stage))
        announce_long(here, "sending", self.url_of(directory))
        try:
            moved = self.store.put(self.name_of(directory), directory, here)
        except ArtifactError as error:
            raise ArtifactError(f"{error}. {directory} is whole, and the same command sends it") from error
        self.remember(directory, here)
        say(here, moved, "sent to", self.url_of(directory), begin)

    def refuse(self, directory: Path, compared: Compared) -> str:
        assert compared.here and compared.there, "one alone is no conflict"
        anew = f"`{command_of(compared.here.stage)} --clean` (with your other flags)"
        return (
            f"{directory} and {self.url_of(directory)} were made by two ({compared.here.fingerprint} here, "
            f"{compared.there.fingerprint} there). Ways on: remove {directory} to take the one that is there, "
            f"{anew} to replace it, or another --run.remote"
        )

    @contextmanager
    def making(self, directory: Path, clean: bool) -> Iterator[None]:
        """Within: the artifact is made here, and others can see so; of two makers the second to end is refused.

        `clean` is to replace what is there now; without it nothing was there when the stage began.
        """
        name = self.name_of(directory)
        if maker := self.store.maker(name):
            note(name, f"{maker} has not sent it yet; whoever ends second is refused")
        try:
            self.store.announce(name)
        except ArtifactError as error:
            way_on = "or leave --run.remote out: what is read of the run is here by now"
            raise ArtifactError(f"{error}; {way_on}") from error
        self.remember(directory, self.store.read_manifest(name) if clean else None)
        try:
            yield
        finally:
            with suppress(ArtifactError):  # what the stage failed of comes first, and sending says the same
                self.store.withdraw(name)


def choose_move(here: str, there: str, seen: str | None) -> Move:
    """By what an artifact was made from and what it holds; '' where there is none."""
    if here == there or not (here or there):
        return "none"
    if not there or (here and there == seen):
        return "send"
    return "fetch" if not here or here == seen else "conflict"


def making_of(manifest: Manifest | None) -> str:
    """What two manifests have in common that are of one artifact: when and in how long it was made is no part of it."""
    if manifest is None:
        return ""
    made = [manifest.stage, manifest.fingerprint, manifest.config, manifest.inputs]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def seen_file(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}{SEEN}")


def replaced_of(directory: Path) -> Path:
    return directory.with_name(directory.name + artifacts.REPLACED)


def require_own(directory: Path) -> None:
    """What is to be replaced by a newer one is this program's alone."""
    if directory.is_symlink():
        raise ArtifactError(
            f"{directory} is a symbolic link, and a newer artifact is to be fetched in its place; remove the link"
        )
    for path in artifacts.foreign_files(directory):
        raise ArtifactError(f"{path} is no file of this artifact, and a newer one is to be fetched; move it away")


def restore(directory: Path) -> None:
    """What a kill left in the middle of a swap."""
    replaced = replaced_of(directory)
    if not replaced.exists():
        return
    if read_manifest(replaced) is None:
        raise ArtifactError(f"{replaced} is no artifact of this program: it has no {MANIFEST}; move it away")
    if directory.exists():
        artifacts.remove_directories(replaced)
    else:
        os.replace(replaced, directory)


@contextmanager
def kept_if_filled(directory: Path) -> Iterator[None]:
    """Within: a directory is filled; one that a failure leaves without a file is removed."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not any(path.is_file() for path in directory.rglob("*")):
            artifacts.remove_directories(directory)
        raise


def announce_long(manifest: Manifest, doing: str, url: str) -> None:
    if (size := total_bytes(manifest, manifest.files)) >= LONG:
        note(manifest.stage, f"{doing} {size / 2**30:.1f} GiB: {url}")


def say(manifest: Manifest, moved: list[str], done: str, url: str, begin: float) -> None:
    """What was moved; an earlier call that was killed may have moved some of it."""
    size, seconds = total_bytes(manifest, moved) / 2**20, time.perf_counter() - begin
    count = len(manifest.files)
    some = f"{len(moved):,} of " if len(moved) < count else ""
    note(manifest.stage, f"{done} {url}: {some}{count:,} file{'s' * (count != 1)}, {size:,.1f} MiB in {seconds:.1f} s")


def total_bytes(manifest: Manifest, files: Iterable[str]) -> int:
    return sum(manifest.files[file]["bytes"] for file in files)


# What commands that are no stage read of a run


def fetch_artifacts(config: Config, names: Iterable[str]) -> None:
    """Artifacts of a run, by their paths in it, of those that are at its URL; `sids/*` are all below sids."""
    remote = remote_of(config)
    if remote is None:
        return
    found: list[str] = []
    for name in names:
        group, _, each = name.partition("/")
        found += remote.store.list_artifacts(group) if each == "*" else [name]
    remote.bring_together([config.run.dir / name for name in dict.fromkeys(found)], send=False)


def fetch_stages(config: Config, stages: Iterable[str]) -> None:
    """The artifacts of these stages that this configuration asks for."""
    fetch_artifacts(config, [artifact_dir(config, stage).relative_to(config.run.dir).as_posix() for stage in stages])


def require_run_there(config: Config) -> None:
    """A mistyped URL holds no run; that is told before anything is looked for."""
    remote = remote_of(config)
    if remote and not (config.run.dir / "data" / MANIFEST).exists() and remote.store.read_manifest("data") is None:
        lacks = f"there is no {remote.store.url_of('data')}/{MANIFEST}"
        raise ArtifactError(
            f"run.remote {config.run.remote} holds no run: {lacks}; look at the address, or send a run there by any "
            "of its stages"
        )
