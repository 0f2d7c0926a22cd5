"""One writer a directory: an advisory lock that the kernel releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genrec.errors import ArtifactError

SUFFIX = ".lock"


@contextmanager
def only_writer(target: Path) -> Iterator[None]:
    """Within: this process alone writes `target`. Another one is refused in a line that names this one.

    The lock lies beside the target (`.<name>.lock`) and stays there: removing it would let two processes hold one name.
    """
    try:
        real = target.resolve()
    except RuntimeError:
        raise ArtifactError(f"{target} lies behind a symbolic link that leads to itself; remove the link") from None
    path = real.with_name(f".{real.name}{SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        take(file, path, target)
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield
    finally:
        os.close(file)


def take(file: int, path: Path, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArtifactError(f"{target} is being written by {holder(file)}; wait for it, or stop it first") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        raise ArtifactError(
            f"the file system of {path} has no file locks ({error.strerror}), so two processes could write one "
            "artifact; put --run.dir on another disk"
        ) from None


def holder(file: int) -> str:
    """Who has the lock, as it wrote it there."""
    try:
        told = json.loads(os.pread(file, 4096, 0))
        return f"process {int(told['pid'])} on {told['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
