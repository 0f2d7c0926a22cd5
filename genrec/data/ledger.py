"""Where rows went: read = kept + dropped, by reason and first line numbers. Nothing is dropped unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FIRST_LINES = 5  # line numbers kept for each reason


@dataclass
class Ledger:
    """The account of one table, from its file to what was kept of it."""

    name: str
    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows
    first_lines: dict[str, list[int]] = field(default_factory=dict)  # reason -> 1-based lines, of bad lines only

    def drop(self, reason: str, rows: int, lines: Iterable[int] = ()) -> None:
        if rows == 0:
            return
        self.dropped[reason] = self.dropped.get(reason, 0) + rows
        if room := [*self.first_lines.get(reason, []), *lines][:FIRST_LINES]:
            self.first_lines[reason] = room

    @property
    def kept(self) -> int:
        return self.read - sum(self.dropped.values())

    def check(self, rows: int) -> None:
        """Our own logic: what is in hand must be what the account says."""
        assert rows == self.kept, f"{self.name}: {rows} rows in hand, but {self.read} read - {self.dropped} dropped"

    def trail(self) -> str:
        """'1,000 read, 3 not JSON (lines 7, 9, ...), 990 outside the window, 7 kept'."""
        parts = [f"{self.read:,} read"]
        for reason, rows in self.dropped.items():
            lines = self.first_lines.get(reason, [])
            more = ", ..." if rows > len(lines) else ""
            parts.append(f"{rows:,} {reason}" + (f" (line {', '.join(map(str, lines))}{more})" if lines else ""))
        return ", ".join([*parts, f"{self.kept:,} kept"])

    def line(self) -> str:
        return f"{self.name}: {self.trail()}"

    def as_dict(self) -> dict[str, Any]:
        return {"read": self.read, "kept": self.kept, "dropped": self.dropped, "first_lines": self.first_lines}
