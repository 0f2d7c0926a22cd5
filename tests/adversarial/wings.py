"""Commands of TencentGR and UR4Rec in this process, on inputs that somebody spoiled: exit code, screen, and the one line."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TRACEBACK = -1  # in place of an exit code: the command ended in an exception that nobody answered


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Case(NamedTuple):
    """`spoil` changes a directory of sound files; then the command ends with `code` and one line that has `says`."""

    name: str
    command: str
    spoil: Callable[[Path], object]
    flags: str = ""
    code: int = 1
    says: str = ""


def call(main: Callable[[], object], argv: list[str], place: Path) -> Answer:
    """`place` is written {} in what is printed, so that expectations need no temporary paths."""
    out, err, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        code = TRACEBACK
        err.write(traceback.format_exc())
    finally:
        sys.argv = before
    return Answer(code, *(text.getvalue().replace(str(place), "{}") for text in (out, err)))


def check_answer(answer: Answer, code: int, says: str) -> None:
    """An exit code and one line; a command that goes well prints no error."""
    assert answer.code == code, answer.err or answer.out
    assert len(answer.errors) == (code != 0), answer.err
    assert "Traceback" not in answer.err
    assert not any(ord(letter) < 32 and letter not in "\n\r\t" for letter in answer.out + answer.err)
    said = answer.errors[0] if code else answer.out
    assert says in said, said


# Ways to spoil a file


def put(name: str, content: bytes | str) -> Callable[[Path], object]:
    def spoil(directory: Path) -> None:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def remove(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def make_directory(name: str) -> Callable[[Path], object]:
    def spoil(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir(parents=True)

    return spoil


def cut(name: str, share: float = 0.5) -> Callable[[Path], object]:
    def spoil(directory: Path) -> None:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def flip(name: str, at: int = -20) -> Callable[[Path], object]:
    """One bit of one byte."""

    def spoil(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        content[at] ^= 1
        (directory / name).write_bytes(bytes(content))

    return spoil


def leave(directory: Path) -> None:
    """The files are sound; the flags are not."""


def both(*spoils: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda directory: [spoil(directory) for spoil in spoils]
