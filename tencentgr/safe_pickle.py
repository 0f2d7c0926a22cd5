"""Pickles of plain data, read as data: nothing in the file is run, imported, called or given a state.

`load` knows the opcodes with which pickle writes the competition's files in protocols 2 to 5: dicts and lists of
numbers, text, flat tuples and numpy vectors. numpy's calls (`_reconstruct` and BUILD, `_frombuffer`, `scalar`) are
patterns whose arguments are compared and read; arrays are read-only, over bytes of their own. Everything else is
refused with its opcode and byte.

Time and memory are linear in the file: a length is checked against the bytes left, memo entries come in a row, a
container has one parent and at most MAX_DEPTH levels, whole numbers have at most 64 bits, keys are text or whole
numbers. `dump` writes such files. No other module imports pickle.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from genrec.errors import ArtifactError

MAX_DEPTH = 16  # levels of containers in containers
MAX_MARKS = 2 * MAX_DEPTH
MAX_NAME = 100  # bytes of a module's or a function's name
BATCH = 1000  # entries of a dict or list that pickle writes after one mark
SHORTEST_RUN = 8  # pairs of numbers that are worth numpy's start
WAY_ON = (
    "only dicts, lists, numbers, text and numpy vectors in protocols 2 to 5 are read; fetch the file again, or have "
    "its author write it as such: pickle.dump(value, file, protocol=4)"
)


def dump(value: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=4)


def load(path: Path) -> Any:
    """The value of a pickle: dicts, lists, flat tuples, str, numbers, bool, None, and arrays that are read-only.

    Raises an ArtifactError of one line with the file, the opcode and byte that are wrong, and the way on.
    """
    try:
        return Reader(path.read_bytes()).read()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); it must be a file of yours") from None
    except MemoryError:
        raise ArtifactError(f"{path} with its {path.stat().st_size:,} bytes does not fit into memory") from None
    except Refused as error:
        raise ArtifactError(f"{path} is refused: {error}; {WAY_ON}") from None


class Refused(ValueError):
    """What a pickle holds beside plain data, or lacks."""


class Name(Enum):
    """Names that a pickle of plain data carries. None of them stands for anything that could be called."""

    DEFAULTDICT = "defaultdict"
    FACTORY = "dict"
    ENCODE = "encode"
    ARRAY = "ndarray"
    DTYPE = "dtype"
    RECONSTRUCT = "_reconstruct"
    SCALAR = "scalar"
    FROM_BUFFER = "_frombuffer"


NAMES = {
    ("collections", "defaultdict"): Name.DEFAULTDICT,
    ("_codecs", "encode"): Name.ENCODE,  # how protocol 2 writes bytes
    ("numpy", "ndarray"): Name.ARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    **{(module, kind): Name.FACTORY for module in ("builtins", "__builtin__") for kind in ("dict", "list", "int")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Name.RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): Name.SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Name.FROM_BUFFER for core in ("core", "_core")},
}


@dataclass(frozen=True, eq=False)
class Dtype:
    """A numpy dtype in a wrapper, since a dtype compared with text would parse it."""

    numpy: np.dtype


@dataclass(eq=False)
class Unfinished:
    """An array or a dtype between its REDUCE and its BUILD."""

    name: Name
    code: str = ""  # of a dtype
    memo_index: int | None = None


CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
DTYPES = {("|" if code[1] == "1" else "<", code): Dtype(np.dtype(f"<{code}")) for code in CODES}
WHOLE = {int} | {dtype.numpy.type for dtype in DTYPES.values() if dtype.numpy.kind in "iu"}
PLAIN = WHOLE | {bool, type(None), float, str} | {dtype.numpy.type for dtype in DTYPES.values()}
LEAVES = PLAIN | {np.ndarray}
KEYS = WHOLE | {str}
NOT_IN_TUPLES = {dict, list, np.ndarray, Unfinished}
IN_ONE_PLACE = {dict, list, tuple, Unfinished}
SHUT = object()  # stands in the memo for a value that must be in one place

Step = Callable[["Reader", int], int]


class Reader:
    """One pass over the bytes of a pickle; a step takes the byte after its opcode and returns that of the next one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below each open MARK
        self.memo: list[Any] = []
        self.levels: dict[int, int] = {}  # of the containers that hold containers, by identity; others have 1
        self.encoded = 0  # characters turned into bytes

    def read(self) -> Any:
        data, at = self.data, 2
        if data[:1] != b"\x80" or not b"\x02" <= data[1:2] <= b"\x05":
            raise Refused(f"it begins with {data[:2]!r} instead of a protocol from 2 to 5")
        try:
            while (code := data[at]) != STOP:
                at = STEPS[code](self, at + 1)
        except IndexError:
            if at >= len(data):
                raise Refused(f"it is cut short, its {len(data):,} bytes end without a STOP") from None
            raise Refused(f"{opcode_name(code)} at byte {at:,}: the values that it takes are missing") from None
        except UnicodeError as error:
            raise Refused(f"{opcode_name(code)} at byte {at:,}: text that is not {error.encoding}") from None
        except Refused as error:
            raise Refused(f"{opcode_name(code)} at byte {at:,}: {error}") from None
        return self.result(at)

    def result(self, at: int) -> Any:
        if at + 1 != len(self.data):
            raise Refused(f"STOP at byte {at:,}: {len(self.data) - at - 1:,} bytes follow")
        if self.marks or len(self.stack) != 1:
            raise Refused(f"STOP at byte {at:,}: {len(self.stack)} values and {len(self.marks)} marks, not 1 and 0")
        (value,) = self.stack
        if kind_is_wrong(value):
            raise Refused(f"STOP at byte {at:,}: {kind_of(value)} in a place of data")
        return value

    def end_of(self, at: int, width: int) -> int:
        """Where the bytes end whose length stands in the `width` bytes from `at`; they begin after it."""
        size = int.from_bytes(self.data[at : at + width], "little")
        left = len(self.data) - at - width
        if size > left:
            raise Refused(f"{size:,} bytes are announced, {max(left, 0):,} are left")
        return at + width + size

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marks.pop()
        return values


def kind_is_wrong(value: Any) -> bool:
    """Whether a value is no data. Containers were checked when they were filled; tuples are flat."""
    if type(value) is tuple:
        return not PLAIN.issuperset(map(type, value))
    return type(value) not in LEAVES and type(value) not in (dict, list)


def kind_of(value: Any) -> str:
    if type(value) is tuple:
        return f"a tuple of {len(value)}"
    return value.value if type(value) is Name else f"a value of type {type(value).__name__}"


def quoted(value: Any) -> str:
    """A value of the file for a message, without control characters and of bounded length."""
    return ascii(value[:MAX_NAME])[:MAX_NAME]


def opcode_name(code: int) -> str:
    opcode = pickletools.code2op.get(chr(code))
    return opcode.name if opcode else f"the unknown opcode 0x{code:02x}"


def refuse(reader: Reader, at: int) -> int:
    raise Refused("no part of plain data")


# Numbers and text


def read_constant(value: Any) -> Step:
    def step(reader: Reader, at: int) -> int:
        reader.stack.append(value)
        return at

    return step


def read_number(form: str) -> Step:
    width, unpack = struct.calcsize(form), struct.Struct(form).unpack_from

    def step(reader: Reader, at: int) -> int:
        if at + width > len(reader.data):
            raise Refused(f"{width} bytes are taken, {len(reader.data) - at} are left")
        reader.stack.append(unpack(reader.data, at)[0])
        return at + width

    return step


def read_long(reader: Reader, at: int) -> int:
    end = reader.end_of(at, 1)
    value = int.from_bytes(reader.data[at + 1 : end], "little", signed=True)
    if not -(2**63) <= value < 2**64:
        raise Refused(f"a whole number of {end - at - 1} bytes, which does not fit into 64 bits")
    reader.stack.append(value)
    return end


def read_text(width: int) -> Step:
    def step(reader: Reader, at: int) -> int:
        end = reader.end_of(at, width)
        reader.stack.append(reader.data[at + width : end].decode("utf-8"))
        return end

    return step


def read_bytes(width: int) -> Step:
    def step(reader: Reader, at: int) -> int:
        end = reader.end_of(at, width)
        reader.stack.append(reader.data[at + width : end])
        return end

    return step


def skip_frame(reader: Reader, at: int) -> int:
    reader.end_of(at, 8)
    return at + 8


# Runs of whole numbers, most of what an indexer and offsets hold


@dataclass(frozen=True)
class Form:
    """How a whole number is written: `head`, then the number in the rest of `width` bytes."""

    head: bytes
    width: int
    signed: bool

    def numbers(self, tokens: np.ndarray) -> np.ndarray:
        """(n, width) uint8 -> (n,) int64, by the sign's byte up to 8 of them."""
        size = self.width - len(self.head)
        wide = np.zeros((len(tokens), 8), np.uint8)
        wide[:, :size] = tokens[:, len(self.head) :]
        if self.signed:
            wide[wide[:, size - 1] >= 128, size:] = 255
        return wide.view("<i8")[:, 0]


FORMS = {
    form.head: form
    for form in [
        Form(b"K", 2, signed=False),
        Form(b"M", 3, signed=False),
        Form(b"J", 5, signed=True),
        *(Form(bytes([0x8A, size]), 2 + size, signed=True) for size in range(1, 9)),
    ]
}


def form_at(data: bytes, at: int) -> Form | None:
    return FORMS.get(data[at : at + 1]) or FORMS.get(data[at : at + 2])


def read_run(reader: Reader, at: int) -> int:
    """Push the whole numbers that repeat the forms of the first two, and return where they end.

    A period that begins with both heads is as wide as the first, so the next one begins where it ends.
    """
    data, first = reader.data, form_at(reader.data, at)
    second = form_at(data, at + first.width) if first else None
    if second is None:
        return at
    period = first.width + second.width
    count = min(repeats(data, at, first.head, period), repeats(data, at + first.width, second.head, period))
    count = min(count, (len(data) - at) // period)
    if count < SHORTEST_RUN:
        return at
    tokens = np.frombuffer(data, np.uint8, count * period, at).reshape(count, period)
    pairs = np.stack([first.numbers(tokens[:, : first.width]), second.numbers(tokens[:, first.width :])], axis=1)
    reader.stack.extend(pairs.ravel().tolist())
    return at + count * period


def repeats(data: bytes, at: int, head: bytes, period: int) -> int:
    """How many periods in a row begin with `head`, up to a batch; 0 for less than a short run."""
    if data[at + SHORTEST_RUN * period - period : at + SHORTEST_RUN * period][: len(head)] != head:
        return 0
    runs = [data[at + place : at + place + BATCH * period : period] for place in range(len(head))]
    return min(len(run) - len(run.lstrip(head[place : place + 1])) for place, run in enumerate(runs))


# The memo: values by the order in which they were put there


def memoize(reader: Reader, at: int) -> int:
    value = reader.stack[-1]
    if type(value) is Unfinished:
        value.memo_index = len(reader.memo)
    reader.memo.append(SHUT if type(value) in IN_ONE_PLACE else value)
    return at


def put(width: int) -> Step:
    def step(reader: Reader, at: int) -> int:
        index = int.from_bytes(reader.data[at : at + width], "little")
        if index != len(reader.memo):
            raise Refused(f"memo entry {index:,} where {len(reader.memo):,} is next")
        return memoize(reader, at + width)

    return step


def get_short(reader: Reader, at: int) -> int:
    return push_entry(reader, reader.data[at], at + 1)


def get_long(reader: Reader, at: int) -> int:
    return push_entry(reader, int.from_bytes(reader.data[at : at + 4], "little"), at + 4)


def push_entry(reader: Reader, index: int, at: int) -> int:
    if index >= len(reader.memo):
        raise Refused(f"memo entry {index:,} of {len(reader.memo):,}")
    if (value := reader.memo[index]) is SHUT:
        raise Refused(f"memo entry {index:,} again; a container or an unfinished array stands in one place only")
    reader.stack.append(value)
    return at


# Containers


def read_empty(kind: type) -> Step:
    def step(reader: Reader, at: int) -> int:
        reader.stack.append(kind())
        return at

    return step


def open_mark(reader: Reader, at: int) -> int:
    if len(reader.marks) == MAX_MARKS:
        raise Refused(f"more than {MAX_MARKS} open marks, the sign of a deeper nesting than is read")
    reader.marks.append(reader.stack)
    reader.stack = []
    return read_run(reader, at)


def append(reader: Reader, at: int) -> int:
    return extend(reader, [reader.stack.pop()], at)


def appends(reader: Reader, at: int) -> int:
    return extend(reader, reader.since_mark(), at)


def extend(reader: Reader, values: list[Any], at: int) -> int:
    target = reader.stack[-1]
    if type(target) is not list:
        raise Refused(f"items for {kind_of(target)}, not for a list")
    check_values(reader, target, values)
    target.extend(values)
    return at


def set_item(reader: Reader, at: int) -> int:
    value, key = reader.stack.pop(), reader.stack.pop()
    return update(reader, [key], [value], at)


def set_items(reader: Reader, at: int) -> int:
    entries = reader.since_mark()
    return update(reader, entries[::2], entries[1::2], at)


def update(reader: Reader, keys: list[Any], values: list[Any], at: int) -> int:
    target = reader.stack[-1]
    if type(target) is not dict:
        raise Refused(f"entries for {kind_of(target)}, not for a dict")
    if len(keys) != len(values):
        raise Refused(f"{len(keys)} keys for {len(values)} values")
    if not KEYS.issuperset(map(type, keys)):
        raise Refused(f"{kind_of(next(key for key in keys if type(key) not in KEYS))} as a key")
    check_values(reader, target, values)
    target.update(zip(keys, values, strict=True))
    return at


def check_values(reader: Reader, target: Any, values: list[Any]) -> None:
    """Refuse values that are no data or make `target` too deep; note how many levels it has with them."""
    if LEAVES.issuperset(map(type, values)):
        return
    if any(map(kind_is_wrong, values)):
        raise Refused(f"{kind_of(next(filter(kind_is_wrong, values)))} in a place of data")
    inner = [reader.levels.get(id(value), 1) for value in values if type(value) in (dict, list)]
    levels = max(reader.levels.get(id(target), 1), 1 + max(inner, default=0))
    if levels > MAX_DEPTH:
        raise Refused(f"containers are nested {levels} levels deep, at most {MAX_DEPTH} are read")
    reader.levels[id(target)] = levels


def short_tuple(size: int) -> Step:
    def step(reader: Reader, at: int) -> int:
        if len(reader.stack) < size:
            raise IndexError
        values = reader.stack[-size:]
        del reader.stack[-size:]
        return push_tuple(reader, values, at)

    return step


def marked_tuple(reader: Reader, at: int) -> int:
    return push_tuple(reader, reader.since_mark(), at)


def push_tuple(reader: Reader, values: list[Any], at: int) -> int:
    """A tuple holds no containers; among numpy's arguments it holds flat tuples, the shapes."""
    kinds = set(map(type, values))
    if not kinds.isdisjoint(NOT_IN_TUPLES):
        raise Refused(f"{kind_of(next(value for value in values if type(value) in NOT_IN_TUPLES))} in a tuple")
    if tuple in kinds and any(tuple in map(type, value) for value in values if type(value) is tuple):
        raise Refused("tuples are nested 3 levels deep, at most 2 are read")
    reader.stack.append(tuple(values))
    return at


# Names, and the calls and states that write numpy's values


def read_global(reader: Reader, at: int) -> int:
    lines = reader.data[at : at + 2 * MAX_NAME].split(b"\n", 2)
    if len(lines) < 3:
        raise Refused(f"a name that does not end within {2 * MAX_NAME} bytes")
    push_name(reader, lines[0].decode("utf-8"), lines[1].decode("utf-8"))
    return at + len(lines[0]) + len(lines[1]) + 2


def stack_global(reader: Reader, at: int) -> int:
    name, module = reader.stack.pop(), reader.stack.pop()
    push_name(reader, module, name)
    return at


def push_name(reader: Reader, module: Any, name: Any) -> None:
    if type(module) is not str or type(name) is not str:
        raise Refused(f"a name made of {kind_of(module)} and {kind_of(name)}")
    if (module, name) not in NAMES:
        raise Refused(f"it names {quoted(module)} {quoted(name)}, which is no plain data")
    reader.stack.append(NAMES[module, name])


def reduce(reader: Reader, at: int) -> int:
    arguments, name = reader.stack.pop(), reader.stack.pop()
    if type(name) is not Name or name not in CALLS:
        raise Refused(f"a call of {kind_of(name)}")
    call, kinds = CALLS[name]
    check_kinds(name, arguments, kinds)
    reader.stack.append(call(reader, *arguments))
    return at


def build(reader: Reader, at: int) -> int:
    """The finished array or dtype in place of the unfinished one, on the stack and in the memo."""
    state, unfinished = reader.stack.pop(), reader.stack[-1]
    if type(unfinished) is not Unfinished:
        raise Refused(f"a state for {kind_of(unfinished)}, which has none")
    finish, kinds = STATES[unfinished.name]
    check_kinds(unfinished.name, state, kinds)
    value = finish(unfinished, *state)
    reader.stack[-1] = value
    if unfinished.memo_index is not None:
        reader.memo[unfinished.memo_index] = value
    return at


def check_kinds(name: Name, values: Any, kinds: tuple[type, ...]) -> None:
    if type(values) is not tuple or len(values) != len(kinds) or not all(map(isinstance, values, kinds)):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise Refused(f"{name.value} with {kind_of(values)} of other types than ({names})")


def empty_dict(reader: Reader, factory: Name) -> dict:
    """A defaultdict, whose entries follow; to a reader it is a dict."""
    if factory is not Name.FACTORY:
        raise Refused(f"a defaultdict of {factory.value}")
    return {}


def encode(reader: Reader, text: str, encoding: str) -> bytes:
    reader.encoded += len(text)
    if encoding != "latin1" or reader.encoded > len(reader.data):
        code = quoted(encoding)
        raise Refused(f"{reader.encoded:,} bytes written as text in {code}, the file has {len(reader.data):,}")
    return text.encode("latin1")


def begin_dtype(reader: Reader, code: str, align: int, copy: int) -> Unfinished:
    return Unfinished(Name.DTYPE, code)


def finish_dtype(unfinished: Unfinished, version: int, order: str, *rest: Any) -> Dtype:
    if (order, unfinished.code) not in DTYPES or version != 3 or rest != (None, None, None, -1, -1, 0):
        code = quoted(order + unfinished.code)
        raise Refused(f"an array of type {code}, and numbers of {', '.join(CODES)} are read, little-endian")
    return DTYPES[order, unfinished.code]


def begin_array(reader: Reader, kind: Name, shape: tuple, code: bytes) -> Unfinished:
    if kind is not Name.ARRAY or shape != (0,) or code != b"b":
        raise Refused(f"an array that does not begin as an empty {Name.ARRAY.value}")
    return Unfinished(Name.ARRAY)


def finish_array(
    unfinished: Unfinished, version: int, shape: tuple, dtype: Dtype, is_fortran: int, content: bytes
) -> np.ndarray:
    if version != 1:
        raise Refused(f"an array's state of version {version}, version 1 is read")
    return array_of(content, dtype, shape, "F" if is_fortran else "C")


def from_buffer(reader: Reader, content: bytes, dtype: Dtype, shape: tuple, order: str) -> np.ndarray:
    return array_of(content, dtype, shape, order)


def array_of(content: bytes, dtype: Dtype, shape: tuple, order: str) -> np.ndarray:
    """A read-only view of `content`, which must fill the shape to the byte."""
    known = len(shape) in (1, 2) and all(type(size) is int and 0 <= size <= len(content) for size in shape)
    if not known or math.prod(shape) * dtype.numpy.itemsize != len(content) or order not in ("C", "F"):
        sizes = quoted(shape[:3])
        raise Refused(f"an array of {dtype.numpy} and shape {sizes} with {len(content):,} bytes of content")
    return np.ndarray(shape, dtype.numpy, buffer=content, order=order)


def scalar(reader: Reader, dtype: Dtype, content: bytes) -> np.generic:
    return array_of(content, dtype, (1,), "C")[0]


NONE = type(None)
CALLS: dict[Name, tuple[Callable[..., Any], tuple[type, ...]]] = {
    Name.DEFAULTDICT: (empty_dict, (Name,)),
    Name.ENCODE: (encode, (str, str)),
    Name.DTYPE: (begin_dtype, (str, int, int)),
    Name.RECONSTRUCT: (begin_array, (Name, tuple, bytes)),
    Name.SCALAR: (scalar, (Dtype, bytes)),
    Name.FROM_BUFFER: (from_buffer, (bytes, Dtype, tuple, str)),
}
STATES: dict[Name, tuple[Callable[..., Any], tuple[type, ...]]] = {
    Name.DTYPE: (finish_dtype, (int, str, NONE, NONE, NONE, int, int, int)),
    Name.ARRAY: (finish_array, (int, tuple, Dtype, int, bytes)),
}
STOP = ord(".")
KNOWN_STEPS = {
    b"N": read_constant(None),
    b"\x88": read_constant(True),
    b"\x89": read_constant(False),
    b"K": read_number("<B"),
    b"M": read_number("<H"),
    b"J": read_number("<i"),
    b"G": read_number(">d"),
    b"\x8a": read_long,
    b"\x8c": read_text(1),
    b"X": read_text(4),
    b"C": read_bytes(1),
    b"B": read_bytes(4),
    b"\x96": read_bytes(8),  # a bytearray, the content of an array in protocol 5
    b"\x95": skip_frame,
    b"\x94": memoize,
    b"q": put(1),
    b"r": put(4),
    b"h": get_short,
    b"j": get_long,
    b"}": read_empty(dict),
    b"]": read_empty(list),
    b")": read_empty(tuple),
    b"(": open_mark,
    b"a": append,
    b"e": appends,
    b"s": set_item,
    b"u": set_items,
    b"\x85": short_tuple(1),
    b"\x86": short_tuple(2),
    b"\x87": short_tuple(3),
    b"t": marked_tuple,
    b"c": read_global,
    b"\x93": stack_global,
    b"R": reduce,
    b"b": build,
}
STEPS: list[Step] = [KNOWN_STEPS.get(bytes([code]), refuse) for code in range(256)]
