"""Commands of TencentGR and UR4Rec in this process, on inputs that somebody spoiled: exit code and the one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
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


def edit_json(name: str, change: Callable[[dict], object]) -> Callable[[Path], object]:
    def spoil(directory: Path) -> None:
        value = json.loads((directory / name).read_text())
        change(value)
        (directory / name).write_text(json.dumps(value))

    return spoil


# Processes


def restore(whole: Path, place: Path) -> Path:
    """`place` as it was built: its path stands in settings, so it is always the same."""
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(whole, place)


def start(work: Callable[[], Answer]) -> tuple[int, int, int]:
    """A process of its own that waits for the word -> its id, where the word is written, where it answers."""
    (begin, word), (answers, end) = os.pipe(), os.pipe()
    if process := os.fork():
        os.close(begin)
        os.close(end)
        return process, word, answers
    os.close(word)
    os.read(begin, 1)
    answer = work()
    os.write(end, json.dumps(answer).encode()[-60_000:])
    os._exit(0)


def race(works: Iterable[Callable[[], Answer]]) -> list[Answer]:
    """Both begin at once; each one's answer."""
    runners = [start(work) for work in works]
    for _, word, _ in runners:
        os.write(word, b".")
    answers = []
    for process, word, answer in runners:
        with os.fdopen(answer, "rb") as file:
            answers.append(Answer(*json.loads(file.read())))
        os.close(word)
        os.waitpid(process, 0)
    return answers


def kill_after(work: Callable[[], Answer], seconds: float) -> bool:
    """Begin the work and end it for good after so long; whether it was still at it."""
    process, word, answer = start(work)
    os.write(word, b".")
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.close(word)
    os.close(answer)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def results_of(directory: Path, without: Iterable[str]) -> dict[str, bytes]:
    files = {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not any(word in name for word in without)}


def check_race(answers: list[Answer], finished: str) -> None:
    """One does the work; the other is refused, or comes when it is done."""
    assert sorted(answer.code for answer in answers) in ([0, 1], [0, 0]), [answer.err for answer in answers]
    second = next((answer for answer in answers if answer.code), None)
    if second:
        check_answer(second, 1, "is being written by process")
    else:
        assert any(finished in answer.out for answer in answers)


def check_kill(work: Callable[[], Answer], directory: Path, without: Iterable[str], share: float) -> None:
    """Killed after a share of the time that it takes, the same command ends with the same files."""
    begin = time.monotonic()
    check_answer(work(), 0, "")
    seconds, whole = time.monotonic() - begin, results_of(directory, without)
    shutil.rmtree(directory)
    kill_after(work, seconds * share)
    check_answer(work(), 0, "")
    assert results_of(directory, without) == whole


FILE_EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"})


def check_every_kill(work: Callable[[], Answer], directory: Path, without: Iterable[str]) -> None:
    """Killed before any one of the things that it does to files of the directory, the same command ends the same."""
    check_answer(work(), 0, "")
    whole = results_of(directory, without)
    for kill in itertools.count():
        shutil.rmtree(directory)
        if not kill_before(work, directory, kill):
            break
        check_answer(work(), 0, "")
        found = results_of(directory, without)
        assert found == whole, (kill, [name for name in {*found, *whole} if found.get(name) != whole.get(name)])
    assert kill > 20  # the hook saw what the command did


def kill_before(work: Callable[[], Answer], directory: Path, number: int) -> bool:
    """A process that ends for good before its `number`-th access to files of the directory; whether it came so far."""
    if process := os.fork():
        return os.WIFSIGNALED(os.waitpid(process, 0)[1])
    accesses = itertools.count()

    def end(event: str, arguments: tuple[object, ...]) -> None:
        if event in FILE_EVENTS and is_below(directory, arguments) and next(accesses) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(end)
    work()
    os._exit(0)


def is_below(directory: Path, arguments: tuple[object, ...]) -> bool:
    """Whether a file event is about the directory; shutil.rmtree names what it removes relative to an open one."""
    path = arguments[0]
    return isinstance(path, str | os.PathLike) and (
        os.fspath(path).startswith(str(directory)) or (not os.path.isabs(path) and arguments[-1] != -1)
    )
