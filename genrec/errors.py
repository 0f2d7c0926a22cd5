"""Failures that are meant for the user: one line on the screen, what is wrong and the way on, and an exit code."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from genrec.lines import write_line
from genrec.signals import WAY_ON

UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),  # full, limited, not ours
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),  # something else lies there
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT),  # the disk, or the network to it, failed
}
DISK_WORDS = {  # what safetensors and torch say of a disk, a quota or a limit that is full -> our words
    "os error 28": "No space left on device",
    "No space left on device": "No space left on device",
    "inline_container": "No space left on device",
    "os error 122": "Disk quota exceeded",
    "Disk quota exceeded": "Disk quota exceeded",
    "os error 27": "File too large (a file-size limit)",
    "File too large": "File too large (a file-size limit)",
}


class ConfigError(ValueError):
    """A config file, key or flag that cannot be used; the message is for the user as it stands."""


class ArtifactError(RuntimeError):
    """An artifact that is missing, broken, or belongs to another run; the message is for the user as it stands."""


@contextmanager
def exit_on_failure(directory: Path) -> Iterator[None]:
    """Within: every expected failure ends the program in one line; what we did not expect keeps its traceback."""
    try:
        yield
    except (ArtifactError, ConfigError) as error:
        fail(str(error))
    except FileNotFoundError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename} is not there; put it back, or make anew what it belongs to")
    except Exception as error:
        if is_out_of_memory(error):
            fail(f"out of memory: {first_line(error)}; ways on: smaller widths, batches or counts, or a larger machine")
        if not (cause := reason_unwritable(error)):
            raise
        ways_on = "free space there or write elsewhere. Nothing finished was touched."
        fail(f"cannot write under {directory}: {cause}; {ways_on}")
    except KeyboardInterrupt:
        fail(f"stopped; {WAY_ON}", code=130)


@contextmanager
def exit_on_usage_error() -> Iterator[None]:
    """Within: a command line that cannot be used ends the program in one line, with exit 2."""
    try:
        yield
    except ConfigError as error:
        fail(str(error), code=2)


def fail(message: str, code: int = 1) -> NoReturn:
    write_line(f"error: {one_line(message)}", sys.stderr)
    raise SystemExit(code)


def one_line(text: str) -> str:
    """The text with what a terminal would not print as a character (newlines, escapes) written as Python does."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def reason_unwritable(error: Exception) -> str:
    """What keeps us from writing, or '' for any other error; torch and safetensors wrap a full disk in their own."""
    if isinstance(error, OSError):
        reason = f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
        return reason if error.errno in UNWRITABLE else ""
    text = str(error)
    return next((words for sign, words in DISK_WORDS.items() if sign in text), "")


def is_out_of_memory(error: Exception) -> bool:
    """numpy says so by type, torch in its text."""
    text = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "CUDA out of memory" in text


def first_line(error: Exception) -> str:
    """What a library's error says, short enough to be quoted in one of ours."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def suggest(word: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' by spelling of the whole path or of its last part, or '' where nothing is near."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:
        last_parts = {path.rsplit(".", 1)[-1]: path for path in known}
        near = difflib.get_close_matches(word.rsplit(".", 1)[-1], last_parts, n=1, cutoff=0.6)
        close = [last_parts[name] for name in near]
    return f"; did you mean '{close[0]}'?" if close else ""
