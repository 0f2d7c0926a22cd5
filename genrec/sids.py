"""Semantic IDs: the integer matrix, its tokens, and how items are found by codes.

N items, L levels, K codes a level
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genrec.artifacts import load_arrays, read_json, save_arrays, write_json_entries
from genrec.errors import ArtifactError

NONE = -1  # code of a level that a shorter SID does not have (collisions: extra_level)
TOKEN = re.compile(r"<([a-z])_(0|[1-9][0-9]{0,8})>")
MOST_CODES = np.iinfo(np.int16).max  # a level


@dataclass(frozen=True)
class SidIndex:
    """SIDs of all items. Rows are distinct unless collisions were kept."""

    codes: np.ndarray  # (N, L) int16, NONE only at the end of a row
    sizes: tuple[int, ...]  # (L,) codes a level

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_levels(self) -> int:
        return len(self.sizes)

    def tokens(self) -> list[str]:
        """Every token of the vocabulary, level by level: <a_0> .. <a_255> <b_0> ..."""
        return [format_token(level, code) for level, size in enumerate(self.sizes) for code in range(size)]

    def first_token(self) -> np.ndarray:
        """(L,) where each level begins in `tokens()`."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    def text(self, item: int) -> str:
        """An item's SID as written in prompts: "<a_12><b_3><c_200>"."""
        return "".join(self.item_tokens(item))

    def item_tokens(self, item: int) -> list[str]:
        return [format_token(level, int(code)) for level, code in enumerate(self.codes[item]) if code != NONE]


def format_token(level: int, code: int) -> str:
    return f"<{string.ascii_lowercase[level]}_{code}>"


def parse_token(text: str) -> tuple[int, int]:
    """ "<b_3>" -> (1, 3)."""
    match = TOKEN.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ArtifactError(f"{text!a:.40} is not a semantic-ID token such as <a_12>")
    return string.ascii_lowercase.index(match[1]), int(match[2])


def count_collisions(codes: np.ndarray) -> int:
    """Items beyond the first of each SID: N minus the number of distinct rows."""
    packed = np.sort(pack_rows(np.asarray(codes)))
    return int((packed[1:] == packed[:-1]).sum())


def pack_rows(codes: np.ndarray) -> np.ndarray:
    """Rows of integers (N, L) -> (N,) one integer each, equal where the rows are.

    As digits of one number; where these run out, what is there so far is numbered anew.
    """
    packed, count = np.zeros(len(codes), dtype=np.int64), 1
    for column in codes.T.astype(np.int64):
        column = column - column.min(initial=0)
        size = int(column.max(initial=0)) + 1
        if count > np.iinfo(np.int64).max // size:
            packed = np.unique(packed, return_inverse=True)[1]
            count = len(codes)
        packed, count = packed * size + column, count * size
    return packed


def make_index(codes: np.ndarray, sizes: tuple[int, ...], allow_collisions: bool = False) -> SidIndex:
    """A checked SidIndex: codes in range, NONE only at the end, rows distinct unless allowed."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != len(sizes):
        raise ArtifactError(f"codes have shape {codes.shape}, expected (items, {len(sizes)})")
    too_small, too_large = codes.min(initial=0) < NONE, bool((codes >= np.array(sizes)).any())
    if too_small or too_large:
        raise ArtifactError(f"codes reach from {codes.min()} to {codes.max()}, but the levels have {sizes} codes")
    if ((codes[:, :-1] == NONE) & (codes[:, 1:] != NONE)).any() or (codes[:, 0] == NONE).any():
        raise ArtifactError("a semantic ID has a gap: a level without a code before a level with one")
    if not allow_collisions and (count := count_collisions(codes)):
        raise ArtifactError(
            f"{count} of {len(codes)} semantic IDs repeat; sids.collisions 'reassign' makes them distinct"
        )
    return SidIndex(codes.astype(np.int16), tuple(int(size) for size in sizes))


def save_index(index: SidIndex, path: Path) -> None:
    save_arrays(path, codes=index.codes, sizes=np.array(index.sizes, dtype=np.int32))


def load_index(path: Path) -> SidIndex:
    """What save_index wrote, checked; collisions are as they were."""
    arrays = load_arrays(path, "codes", "sizes")
    codes, sizes = arrays["codes"], arrays["sizes"]
    if not len(codes) or (sizes < 1).any() or (sizes > MOST_CODES).any():
        raise ArtifactError(
            f"{path} must hold items, and levels of 1 to {MOST_CODES} codes; "
            f"it has {len(codes)} items, levels of {sizes}"
        )
    if codes.dtype.kind != "i" or sizes.dtype.kind != "i" or sizes.ndim != 1:
        raise ArtifactError(
            f"{path} must hold integers, codes (items, levels) and sizes (levels,); "
            f"it holds {codes.dtype} {codes.shape} and {sizes.dtype} {sizes.shape}"
        )
    try:
        return make_index(codes, tuple(int(size) for size in sizes), allow_collisions=True)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def save_codebooks(codebooks: tuple[np.ndarray, ...], path: Path) -> None:
    save_arrays(path, **{f"codebook_{level}": codebook for level, codebook in enumerate(codebooks)})


def load_codebooks(path: Path) -> tuple[np.ndarray, ...]:
    arrays = load_arrays(path, "codebook_0")
    names = [f"codebook_{level}" for level in range(len(arrays))]
    fit = [array.ndim == 2 and array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values()]
    if set(names) != set(arrays) or not all(fit) or len({array.shape[1] for array in arrays.values()}) > 1:
        held = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
        raise ArtifactError(
            f"{path} must hold codebook_0, codebook_1, ... as finite floats (codes, width); it holds {held}"
        )
    return tuple(arrays[name] for name in names)


def write_index_json(index: SidIndex, path: Path) -> None:
    """MiniOneRec's index.json: {"0": ["<a_236>", "<b_231>", "<c_226>"], ...}."""
    write_json_entries(path, ((str(item), index.item_tokens(item)) for item in range(len(index))))


def read_index_json(path: Path, sizes: tuple[int, ...] | None = None) -> SidIndex:
    """An index.json of this project or MiniOneRec's, collisions kept; without `sizes`, the largest codes tell them."""
    rows = _read_tokens(path)
    parsed = [_parse_codes(rows[str(item)], item, path) for item in range(len(rows))]
    depth = max(len(row) for row in parsed)
    codes = np.full((len(parsed), depth), NONE, dtype=np.int64)
    for item, row in enumerate(parsed):
        codes[item, : len(row)] = row
    return make_index(codes, sizes or tuple(int(size) for size in codes.max(axis=0) + 1), allow_collisions=True)


def _read_tokens(path: Path) -> dict[str, list[str]]:
    rows = read_json(path)
    if not isinstance(rows, dict) or not rows or set(rows) != {str(item) for item in range(len(rows))}:
        what = f"{len(rows)} keys, not in that form" if isinstance(rows, dict) else f"a JSON {type(rows).__name__}"
        raise ArtifactError(f"{path} must map the items '0'..'N-1' to tokens; it has {what}")
    return rows


def _parse_codes(tokens: list[str], item: int, path: Path) -> list[int]:
    """The codes of an item's tokens, level by level."""
    if not isinstance(tokens, list) or not tokens:
        raise ArtifactError(f'{path}: item {item} must have a list of tokens such as ["<a_12>"], not {tokens!a:.80}')
    try:
        levels, codes = zip(*map(parse_token, tokens), strict=True)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: item {item}: {error}") from None
    if list(levels) != list(range(len(tokens))):
        raise ArtifactError(f"{path}: item {item} has levels out of order: {tokens}")
    if max(codes) >= MOST_CODES:
        raise ArtifactError(f"{path}: item {item} has the code {max(codes)}; a level has {MOST_CODES} at most")
    return list(codes)
