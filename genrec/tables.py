"""Tables for the screen and for text files: 80 columns, plain characters, the same wherever they are shown.

Heads fold, and columns of words; numbers never do. What is still too wide is split: the further columns follow in a
table of their own below, beside the first column again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from genrec.data.texts import escape_controls

WIDTH = 80
GAP = 2
NARROW = 14  # as far as a column of words is folded before the table is split
LONG_WORD = WIDTH // 2  # up to which a word stays whole: names are to be copied
SCREEN = Console(file=StringIO(), color_system=None, force_terminal=False, _environ={})  # whatever the terminal says


@dataclass(frozen=True)
class Column:
    head: str
    cells: list[str]
    folds: bool  # words, to the left; else numbers, to the right

    @property
    def natural(self) -> int:
        """Its width where nothing folds."""
        return max(map(cell_len, (self.head, *self.cells)))

    @property
    def least(self) -> int:
        """Its width where everything folds that may, at spaces: heads, and words."""
        body = max(map(cell_len, self.cells), default=0)
        head = measure_words([self.head])
        return max(head, min(body, max(NARROW, min(measure_words(self.cells), LONG_WORD))) if self.folds else body)


def measure_words(texts: list[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def render_table(rows: list[list[str]], words: Collection[str] = (), width: int = WIDTH) -> str:
    """Rows of cells, the head first, as lines of at most `width` characters.

    The first column and those named in `words` stand to the left and fold; the others hold numbers and stand to the
    right. What steers a terminal is escaped.
    """
    head, *body = [[escape_controls(cell) for cell in row] for row in rows]
    columns = [
        Column(name, [row[place] for row in body], place == 0 or name in words) for place, name in enumerate(head)
    ]
    return "\n\n".join(draw_table(part, choose_widths(part, width)) for part in split_columns(columns, width))


def fold_lines(text: str, indent: str = "") -> str:
    """A sentence in lines of the screen's width; `indent` begins all but the first."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def fold_text(text: str) -> str:
    """Every line of a text so, each folded below its own beginning."""
    lines = ((line, len(line) - len(line.lstrip())) for line in text.splitlines())
    return "\n".join(fold_lines(line, " " * (begin + 2)) for line, begin in lines)


def split_columns(columns: list[Column], width: int) -> list[list[Column]]:
    """The columns of each table: as many as fit beside the first one, at least one."""
    first, *rest = columns
    parts = [[first]]
    for column in rest:
        if len(parts[-1]) > 1 and total([*(each.least for each in parts[-1]), column.least]) > width:
            parts.append([first])
        parts[-1].append(column)
    return parts


def choose_widths(columns: list[Column], width: int) -> list[int]:
    """As narrow as may be, then what room is left, a character at a time, to the column that lacks most."""
    widths = [column.least for column in columns]
    while total(widths) < width:
        lacks = [column.natural - have for column, have in zip(columns, widths, strict=True)]
        if max(lacks) == 0:
            break
        widths[lacks.index(max(lacks))] += 1
    return widths


def total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def draw_table(columns: list[Column], widths: list[int]) -> str:
    """The head, a line, the rows. Drawn here: versions of rich count a table's paddings differently."""
    body = [draw_row(columns, widths, row) for row in zip(*(column.cells for column in columns), strict=True)]
    head = draw_row(columns, widths, [column.head for column in columns], to_bottom=True)
    return "\n".join([*head, "-" * total(widths), *(line for row in body for line in row)])


def draw_row(columns: list[Column], widths: list[int], cells: Sequence[str], to_bottom: bool = False) -> list[str]:
    """The cells of a row beside one another, each folded to its column."""
    folded = [fold_cell(cell, width) for cell, width in zip(cells, widths, strict=True)]
    if to_bottom:
        height = max(map(len, folded))
        folded = [[""] * (height - len(lines)) + lines for lines in folded]
    return [
        (" " * GAP).join(place_line(*each) for each in zip(columns, widths, line, strict=True)).rstrip()
        for line in zip_longest(*folded, fillvalue="")
    ]


def fold_cell(cell: str, width: int) -> list[str]:
    """At spaces where that is possible, else within a word."""
    return [line.plain.rstrip() for line in Text(cell).wrap(SCREEN, width, overflow="fold")]


def place_line(column: Column, width: int, text: str) -> str:
    blank = " " * (width - cell_len(text))
    return text + blank if column.folds else blank + text
