"""One writer a directory: an advisory lock that the kernel releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genrec.errors import ArtifactError

SUFFIX = ".lock"
PATIENCE = 25  # readings of an owner's name, which stands there a moment after the lock is taken


@contextmanager
def only_writer(target: Path) -> Iterator[None]:
    """Within: this process alone writes `target`. Another one is refused in a line that names this one.

    The lock lies beside the target (`.<name>.lock`) and stays there. Of a call that fails, the lock and the directories
    that it made are removed again where nothing else lies in them, so a mistyped place leaves no trace.
    """
    path = lock_of(target)
    new, missing = not path.exists(), [directory for directory in path.parents if not directory.exists()]
    try:
        file = hold(path, target)
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
            yield
        except BaseException:
            if new:
                remove(path)
            raise
        finally:
            os.close(file)
    except BaseException:
        remove_empty(missing)
        raise


def lock_of(target: Path) -> Path:
    try:
        real = target.resolve()
    except RuntimeError:
        raise ArtifactError(f"{target} lies behind a symbolic link that leads to itself; remove the link") from None
    return real.with_name(f".{real.name}{SUFFIX}")


def hold(path: Path, target: Path) -> int:
    """The lock file, open and locked. One that its holder removed while we opened it locks nothing: again."""
    while True:
        file = open_lock(path)
        try:
            take(file, path, target)
            if stands_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def open_lock(path: Path) -> int:
    """Whoever removes a directory that it made may do so between our two steps, so they are tried again."""
    for _ in range(PATIENCE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    raise ArtifactError(f"{path} cannot be opened: it is a link that leads nowhere; remove it")


def stands_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def remove(path: Path) -> None:
    """Only its holder does; a failure must not hide what the call failed of."""
    with suppress(OSError):
        path.unlink()


def remove_empty(directories: list[Path]) -> None:
    """Each in the one after it."""
    with suppress(OSError):
        for directory in directories:
            directory.rmdir()


def take(file: int, path: Path, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArtifactError(f"{target} is being written by {holder(file)}; wait for it, or stop it first") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        remove(path)
        raise ArtifactError(
            f"the file system of {path} has no file locks ({error.strerror}), so two processes could write one "
            "artifact; put --run.dir on another disk"
        ) from None


def holder(file: int) -> str:
    """Who has the lock, as it writes it there just after it took it."""
    for _ in range(PATIENCE):
        try:
            owner = json.loads(os.pread(file, 4096, 0))
            return f"process {int(owner['pid'])} on {owner['host']}"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return "another process"
