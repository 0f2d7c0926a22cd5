"""Lines on the screen: above the progress bars that are open, and a handful a training where there is no bar."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

SHOWN = 5  # lines of a training without a terminal
CLEAR_LINE = "\r\x1b[K"  # for a terminal whose last line may be a bar of another process


def write_line(text: str, file: TextIO | None = None) -> None:
    """One line on stdout or `file`; a plain print would be glued to an open bar."""
    file = file or sys.stdout
    with without_bars(file):
        print(text, file=file, flush=True)


def without_bars(file: TextIO | None) -> AbstractContextManager:
    """Within: the bars that share a terminal with `file` are cleared; where tqdm was never imported there are none."""
    tqdm = sys.modules.get("tqdm")
    return tqdm.tqdm.external_write_mode(file=file) if tqdm else nullcontext()


def relay_line(line: str) -> None:
    """A line of another process whose bars are on this terminal; it ends in a newline."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    print((CLEAR_LINE if terminal else "") + line, end="", flush=True)


class Milestones:
    """Which moments of a training are worth a line: at most `shown`, spread evenly over its length."""

    def __init__(self, length: int, done: int = 0, shown: int = SHOWN):
        self.length, self.shown, self.passed = max(length, 1), shown, done * shown // max(length, 1)

    def reached(self, done: int) -> bool:
        """Whether a further share of the length was passed since this last said so."""
        share = done * self.shown // self.length
        passed, self.passed = share > self.passed, max(share, self.passed)
        return passed


class HeldBack(logging.Filter):
    """Messages of one logger that begin with certain words, kept until somebody asks for them."""

    def __init__(self, logger: str, words: str):
        super().__init__()
        self.logger, self.words, self.records = logging.getLogger(logger), words, []

    def filter(self, record: logging.LogRecord) -> bool:
        held = str(record.msg).startswith(self.words)
        if held:
            self.records.append(record)
        return not held

    def release(self) -> None:
        """Let them through, those that came already too."""
        self.logger.removeFilter(self)
        while self.records:
            self.logger.handle(self.records.pop(0))


# peft imports bitsandbytes wherever that is installed, which then speaks of the CPU's 4-bit weights to everybody.
FOUR_BIT_NOTES = HeldBack("bitsandbytes.backends.cpu.ops", "Failed to load CPU gemm_4bit_forward")
