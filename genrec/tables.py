"""Tables for the screen and for text files: 80 columns, plain characters, the same wherever they are shown.

Heads fold, and columns of words; numbers never do. What is still too wide is split: the further columns follow in a
table of their own below, beside the first column again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from io import StringIO

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrec.data.texts import escape_controls

WIDTH = 80
GAP = 2
NARROW = 14  # as far as a column of words is folded before the table is split
LONG_WORD = WIDTH // 2  # up to which a word stays whole: names are to be copied
RULE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)  # a line below the head, nothing else


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
    table = Table(box=RULE, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP - 1))  # the box adds one
    inner = [widths[0] - 1, *widths[1:]]  # rich counts a padding before the first column too, and draws none there
    for column, width in zip(columns, inner, strict=True):
        table.add_column(Text(column.head), justify="left" if column.folds else "right", width=width, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    return "\n".join(line.rstrip() for line in print_plain(table, total(widths)).splitlines())


def print_plain(table: Table, width: int) -> str:
    """As text without colours, whatever the terminal and the environment say."""
    screen = StringIO()
    Console(file=screen, width=width, color_system=None, force_terminal=False, _environ={}).print(table)
    return screen.getvalue()
