"""SIGTERM and Ctrl-C end a command in one line, from its first import to its end.

An entry point calls `exit_on_signals` before it imports anything that takes time, and `raise_on_signals` before it
works. Nothing but modules that Python has loaded anyway is imported here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

STOPPED = {signal.SIGINT: "stopped", signal.SIGTERM: "stopped by SIGTERM"}
WAY_ON = "the same command goes on from here"
Handler = Callable[[int, FrameType | None], object]


def exit_on_signals() -> None:
    """While imports run: the line, and the end.

    An exception instead would come up inside a library's import, which may turn it into another one.
    """
    answer(exit_at_once, exit_at_once)


def raise_on_signals() -> None:
    """While the command works: an exception, so that what it has begun (other processes, say) is ended with it."""
    answer(signal.default_int_handler, raise_exit)


def answer(interrupt: Handler, terminate: Handler) -> None:
    """A signal that the caller ignores (`nohup`, a shell's background jobs) stays ignored."""
    for number, handler in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def exit_at_once(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, f"{line_of(number)}\n".encode())
    finally:  # it may be closed, `2>&-`
        os._exit(128 + number)


def raise_exit(number: int, frame: FrameType | None) -> None:
    print(line_of(number), file=sys.stderr)
    raise SystemExit(128 + number)


def line_of(number: int) -> str:
    return f"error: {STOPPED[signal.Signals(number)]}; {WAY_ON}"
