"""Pickles hold data or are refused, in a line, within the memory and the time that their size allows."""

import collections
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genrec.errors import ArtifactError
from tencentgr import files, rqvae, safe_pickle
from tencentgr.dataset import load_candidates, load_data, load_queries
from tencentgr.entries import locate_source
from tests import ROOT

PROTOCOLS = [2, 3, 4, 5]
CORPUS = Path(__file__).with_name("pickle_corpus.txt")
PLAIN = {
    "indexer": {
        "f": collections.defaultdict(dict, {"101": {1_010_000_013: 1, 1_010_000_014: 2}, "100": {1: 1}}),
        "i": {20_002_650_278 + 7 * item: item + 1 for item in range(2500)},
        "u": {f"user_{number:08d}": number + 1 for number in range(1200)},
        "a": {1: 1, 0: 2},
    },
    "offsets": list(range(0, 40_000_000, 18_809)),
    "offsets by line": {line: 100_000 * line for line in range(1001)},
    "offsets of numpy": [np.int64(0), np.int64(18809)],
    "offsets in an array": np.arange(0, 9000, 90),
    "vectors": {20_002_650_278 + row: np.full(32, row, np.float32) for row in range(40)},
    "vectors as lists": {"a": [0.5, -1.25, 1e-300], 7: [float("inf"), float("-inf"), 0.0]},
    "outside of frames": {"vector": np.arange(40_000), "text": "x" * 100_000, "after": [1, 2]},
    "matrix": np.arange(6.0).reshape(2, 3),
    "matrix by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every type": [np.arange(3).astype(code) for code in safe_pickle.CODES],
    "numbers of numpy": [np.dtype(code).type(7) for code in safe_pickle.CODES],
    "numbers at their borders": [
        s * 2**b + d for b in (0, 7, 8, 15, 16, 31, 32, 39, 62) for s in (1, -1) for d in (-1, 0, 1)
    ],
    "numbers of 64 bits": [2**64 - 1, 2**63, 2**63 - 1, -(2**63)],
    "tuples": [(), (1,), (1, "b"), (True, None, 2.5), tuple(range(50))],
    "text": ["", "ünï \U0001f600", "a\x00b", "x" * 300],
    "empty": {"dict": {}, "list": [], "array": {}},
    "nested": {"a": [{"b": [[1], [[2]]]}, {"c": {}}]},
    "a number": 7,
    "repeated text": ["abc", "abc", {"abc": "abc"}],
}


def read(data: bytes):
    return safe_pickle.Reader(data).read()


def assert_same(found, expected) -> None:
    """Equal in type and value to the bit; dicts in their order, and a defaultdict comes back as a dict."""
    if isinstance(expected, dict):
        assert type(found) is dict and list(found) == list(expected)
        for key, twin in zip(found, expected, strict=True):
            assert type(key) is type(twin)
            assert_same(found[key], expected[twin])
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, twin in zip(found, expected, strict=True):
            assert_same(one, twin)
    elif isinstance(expected, np.ndarray):
        assert type(found) is np.ndarray and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes() and not found.flags.writeable
    else:
        assert type(found) is type(expected) and repr(found) == repr(expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_comes_back_as_pickle_reads_it(tmp_path, name, protocol):
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(PLAIN[name], protocol))
    assert_same(safe_pickle.load(path), pickle.loads(path.read_bytes()))


def test_what_is_dumped_is_loaded(tmp_path):
    safe_pickle.dump(PLAIN["indexer"], tmp_path / "plain.pkl")
    assert_same(safe_pickle.load(tmp_path / "plain.pkl"), PLAIN["indexer"])


def test_older_names_of_numpy_are_read():
    data = pickle.dumps(PLAIN["vectors"], 3)
    assert b"numpy._core." in data
    assert_same(read(data.replace(b"numpy._core.", b"numpy.core.")), PLAIN["vectors"])


def numbers_of_few_widths(draw: random.Random) -> list[int]:
    bits = [draw.choice([4, 8, 12, 16, 24, 31, 35, 40, 60, 63]) for _ in range(draw.choice([1, 2, 3]))]
    length = draw.choice([0, 1, 2, 15, 16, 17, 18, 40, 999, 1000, 1001, 2500])
    return [draw.choice([1, 1, 1, -1]) * draw.getrandbits(bits[place % len(bits)]) for place in range(length)]


@pytest.mark.parametrize("seed", range(8))
def test_runs_of_numbers_are_read_as_one_by_one(seed, monkeypatch):
    draw = random.Random(seed)
    for _ in range(30):
        numbers = numbers_of_few_widths(draw)
        value = numbers if draw.random() < 0.5 else dict(zip(numbers, reversed(numbers), strict=True))
        data = pickle.dumps(value, draw.choice(PROTOCOLS))
        with monkeypatch.context() as patch:
            patch.setattr(safe_pickle, "read_run", lambda reader, at: at)
            one_by_one = read(data)
        assert_same(read(data), one_by_one)
        assert_same(one_by_one, value)


def test_arrays_are_read_only_views_of_whole_contents():
    first, second = read(pickle.dumps([np.ones(3, np.float32), np.zeros(2, np.float32)]))
    for array in (first, second):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            array.flags.writeable = True
    assert (first.tolist(), second.tolist()) == ([1, 1, 1], [0, 0])


# Attacks, by hand


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def dtype(code: str, order: str = "<", rest: bytes = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00") -> bytes:
    return named("numpy", "dtype") + text(code) + b"\x89\x88\x87R" + dtype_state(order, rest)


def dtype_state(order: str, rest: bytes = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00") -> bytes:
    return b"(K\x03" + text(order) + rest + b"tb"


EMPTY_ARRAY = named("numpy._core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"


def array(shape: bytes, content: bytes, kind: bytes = dtype("f4")) -> bytes:
    return EMPTY_ARRAY + b"(K\x01" + shape + kind + b"\x89C" + bytes([len(content)]) + content + b"tb"


def deep(begin: bytes, end: bytes, times: int) -> bytes:
    return begin * times + end * times


F4, EIGHT = dtype("f4"), b"12345678"
LARGER = b"NNNM\x00\x10K\x01K\x00"  # in a dtype's state: no fields, 4096 bytes a number
ENCODE = named("_codecs", "encode")
FROM_BUFFER = named("numpy._core.numeric", "_frombuffer")
SCALAR = named("numpy._core.multiarray", "scalar")
ATTACKS = {
    # a dtype or an array gets a state that it must not get
    "dtype altered while an array has it": (
        b"](" + array(b"K\x02\x85", EIGHT, F4 + b"q\x00") + b"h\x00" + dtype_state("<", LARGER) + b"e.",
        "BUILD at byte .*: a state for a value of type Dtype, which has none",
    ),
    "dtype memoized before its state, then altered": (
        b"](" + array(b"K\x02\x85", EIGHT, F4.replace(b"R(", b"Rq\x00(")) + b"h\x00" + dtype_state("<", LARGER) + b"e.",
        "BUILD at byte .*: a state for a value of type Dtype, which has none",
    ),
    "dtype built twice": (dtype("f4") + dtype_state("<"), "a state for a value of type Dtype"),
    "array built twice": (
        array(b"K\x02\x85", EIGHT) + b"(K\x01K\x09\x85" + F4 + b"\x89C\x08" + EIGHT + b"tb",
        "a state for a value of type ndarray",
    ),
    "state for a dict": (b"}}b", "BUILD at byte 4: a state for a value of type dict"),
    "state for the class of arrays": (named("numpy", "ndarray") + b"}b", "a state for ndarray"),
    "state for one of the reader's functions": (
        named("numpy._core.multiarray", "scalar") + b"}b",
        "a state for scalar",
    ),
    "state for the function of bytes": (ENCODE + b"}" + text("x") + b"K\x01sb", "a state for encode"),
    # names and calls
    "os.system": (named("os", "system") + text("true") + b"\x85R", "GLOBAL at byte 2: it names 'os' 'system'"),
    "os.system, later protocol": (text("os") + text("system") + b"\x93" + text("x") + b"\x85R", "STACK_GLOBAL"),
    "eval": (named("builtins", "eval") + text("1") + b"\x85R", "it names 'builtins' 'eval'"),
    "getattr": (named("builtins", "getattr") + b".", "it names 'builtins' 'getattr'"),
    "dotted name": (text("builtins") + text("dict.__class__") + b"\x93", r"'dict\.__class__'"),
    "the reader itself": (named("tencentgr.safe_pickle", "load") + b".", "'tencentgr.safe_pickle' 'load'"),
    "numpy.load": (named("numpy", "load") + b".", "it names 'numpy' 'load'"),
    "name of numbers": (b"K\x01K\x02\x93", "a name made of a value of type int and a value of type int"),
    "name without an end": (b"c" + b"a" * 500, "a name that does not end within 200 bytes"),
    "name with a terminal escape": (named("\x1b[2J", "x") + b".", r"'\\x1b\[2J'"),
    "call of the class of arrays": (named("numpy", "ndarray") + b"K\x09\x85\x85R", "REDUCE .*: a call of ndarray"),
    "call of dict": (named("builtins", "dict") + b")R", "a call of dict"),
    "call of a number": (b"K\x01)R", "a call of a value of type int"),
    "call of text": (text("os") + b")R", "a call of a value of type str"),
    "defaultdict of a function": (named("collections", "defaultdict") + ENCODE + b"\x85R", "a defaultdict of encode"),
    "defaultdict with contents": (
        named("collections", "defaultdict") + named("builtins", "dict") + b"K\x01\x86R",
        r"defaultdict with a tuple of 2 of other types than \(Name\)",
    ),
    "call without a tuple": (named("numpy", "dtype") + text("f4") + b"R", "dtype with a value of type str"),
    "encode with another codec": (ENCODE + text("a") + text("rot13") + b"\x86R", "written as text in 'rot13'"),
    "encode of what is not latin1": (ENCODE + text("\u20ac") + text("latin1") + b"\x86R", "text that is not latin-1"),
    "encode the same text again and again": (
        b"(" + ENCODE + b"q\x00" + text("a" * 200) + b"q\x01" + text("latin1") + b"q\x02" + b"h\x00h\x01h\x02\x86R" * 9,
        "400 bytes written as text in 'latin1', the file has",
    ),
    # arrays
    "object dtype": (dtype("O8", "|"), "an array of type '|O8'"),
    "text dtype": (dtype("U4"), "an array of type '<U4'"),
    "void dtype": (dtype("V99", "|"), "an array of type '|V99'"),
    "long double": (dtype("f16"), "an array of type '<f16'"),
    "big-endian dtype": (dtype("f4", ">"), "an array of type '>f4'"),
    "dtype with fields": (dtype("f4", "<", b"N)NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"), "dtype with a tuple of 8"),
    "dtype with a larger size": (dtype("f4", "<", LARGER), "an array of type '<f4'"),
    "dtype never built": (
        named("numpy", "dtype") + text("f4") + b"\x89\x88\x87R.",
        "type Unfinished in a place of data",
    ),
    "array never built": (EMPTY_ARRAY + b".", "type Unfinished in a place of data"),
    "array never built, in a list": (b"]" + EMPTY_ARRAY + b"a.", "type Unfinished in a place of data"),
    "array of memory as it is": (
        EMPTY_ARRAY.replace(b"K\x00\x85C\x01b", b"J\x00\x00\x00\x40\x85C\x01b"),
        "an array that does not begin as an empty ndarray",
    ),
    "array of another class": (EMPTY_ARRAY.replace(b"numpy\nndarray", b"numpy\ndtype"), "does not begin as an empty"),
    "unfinished array again": (b"]" + EMPTY_ARRAY + b"q\x00h\x00", "memo entry 0 again"),
    "array of more than its bytes": (array(b"K\x03\x85", EIGHT), r"float32 and shape \(3,\) with 8 bytes"),
    "array of less than its bytes": (array(b"K\x01\x85", EIGHT), r"float32 and shape \(1,\) with 8 bytes"),
    "array of a negative size": (array(b"J\xfe\xff\xff\xffJ\xff\xff\xff\xff\x86", EIGHT), r"shape \(-2, -1\)"),
    "array of a size that overflows": (
        array(b"\x8a\x09" + b"\x00" * 7 + b"\x80\x00" + b"K\x00\x86", b""),
        r"shape \(9223372036854775808, 0\)",
    ),
    "array of a size that is a truth": (array(b"\x88K\x02\x86", EIGHT), r"shape \(True, 2\)"),
    "array of no dimensions": (array(b")", EIGHT[:4]), r"shape \(\)"),
    "array of three dimensions": (array(b"K\x01K\x01K\x02\x87", EIGHT), r"shape \(1, 1, 2\)"),
    "array of a later version": (array(b"K\x02\x85", EIGHT).replace(b"(K\x01K\x02", b"(K\x02K\x02"), "version 2"),
    "array of a list of objects": (
        EMPTY_ARRAY + b"(K\x01K\x01\x85" + F4 + b"\x89K\x07tb",
        "ndarray with a tuple of 5 of other types",
    ),
    "buffer in another order": (FROM_BUFFER + b"(C\x08" + EIGHT + F4 + b"K\x02\x85" + text("A") + b"tR", "REDUCE"),
    "buffer that is text": (
        FROM_BUFFER + b"(" + text("abcd") + F4 + b"K\x01\x85" + text("C") + b"tR",
        "_frombuffer with",
    ),
    "number of too many bytes": (SCALAR + F4 + b"C\x08" + EIGHT + b"\x86R", r"shape \(1,\) with 8 bytes"),
    "number of no bytes": (SCALAR + F4 + b"C\x00\x86R", r"shape \(1,\) with 0 bytes"),
    "number of text": (SCALAR + F4 + text("abcd") + b"\x86R", "scalar with"),
    # nesting, sharing and the memo
    "nested tuples": (b")" + b"\x85" * 200_000 + b".", "TUPLE1 at byte 4: tuples are nested 3 levels deep"),
    "nested tuples by marks": (deep(b"(", b"t", 100_000) + b".", "MARK at byte 34: more than 32 open marks"),
    "nested lists": (deep(b"]", b"a", 100_000).replace(b"a", b"", 1) + b".", "APPEND .*: containers are nested 17"),
    "nested dicts": (b"}" + deep(text("a") + b"}", b"s", 50_000) + b".", "SETITEM .*: containers are nested 17"),
    "list in a tuple": (b"]\x85.", "TUPLE1 at byte 3: a value of type list in a tuple"),
    "list within itself": (b"]q\x00h\x00a.", "BINGET at byte 5: memo entry 0 again; a container"),
    "dict within itself": (b"}q\x00K\x01h\x00s.", "memo entry 0 again; a container"),
    "laughs by the billion": (
        b"]q\x00" + b"".join(b"](" + b"h\x00" * 9 + b"eq\x01" for _ in range(9)),
        "memo entry 0 again",
    ),
    "tuple in two places": (b"](K\x01\x85q\x00h\x00e.", "memo entry 0 again"),
    "memo entry far away": (b"Nr\xff\xff\xff\x7f.", "LONG_BINPUT at byte 3: memo entry 2,147,483,647 where 0 is next"),
    "memo entry not in a row": (b"Nq\x01.", "BINPUT at byte 3: memo entry 1 where 0 is next"),
    "memo entry again": (b"Nq\x00q\x00.", "memo entry 0 where 1 is next"),
    "memo entry in digits": (b"Np999999999\n.", "PUT at byte 3: no part of plain data"),
    "memo entry that is not there": (b"h\x05.", "BINGET at byte 2: memo entry 5 of 0"),
    "memo entry far away that is not there": (b"j\xff\xff\xff\xff.", "memo entry 4,294,967,295 of 0"),
    "nothing to memoize": (b"\x94.", "MEMOIZE at byte 2: the values that it takes are missing"),
    # opcodes of which plain data has none
    "persistent id": (b"Pid\n.", "PERSID at byte 2: no part of plain data"),
    "persistent id of a value": (b"K\x01Q.", "BINPERSID at byte 4: no part"),
    "extension of 1 byte": (b"\x82\x01.", "EXT1"),
    "extension of 2 bytes": (b"\x83\x01\x00.", "EXT2"),
    "extension of 4 bytes": (b"\x84\x01\x00\x00\x00.", "EXT4"),
    "buffer out of band": (b"\x97.", "NEXT_BUFFER at byte 2: no part"),
    "buffer made read-only": (b"C\x01a\x98.", "READONLY_BUFFER at byte 5: no part"),
    "new object": (named("numpy", "ndarray") + b")\x81.", "NEWOBJ"),
    "new object with keywords": (named("numpy", "ndarray") + b")}\x92.", "NEWOBJ_EX"),
    "object of a class": (b"(" + named("numpy", "ndarray") + b"o.", "OBJ at byte"),
    "instance of a class": (b"(inumpy\nndarray\n.", "INST at byte 3"),
    "value twice": (b"]2.", "DUP at byte 3"),
    "value thrown away": (b"]N0.", "POP at byte 4"),
    "mark thrown away": (b"](N1.", "POP_MARK at byte 5"),
    "set": (b"\x8f.", "EMPTY_SET"),
    "frozen set": (b"(\x91.", "FROZENSET"),
    "number in digits": (b"I1\n.", "INT at byte 2"),
    "long number in digits": (b"L" + b"9" * 100_000 + b"L\n.", "LONG at byte 2"),
    "text in quotes": (b"S'a'\n.", "STRING at byte 2"),
    "protocol again": (b"\x80\x04N.", "PROTO at byte 2"),
    "no opcode": (b"\xff.", "the unknown opcode 0xff at byte 2"),
    # lengths
    "number of 4 GB": (b"\x8b\xff\xff\xff\x7f.", "LONG4 at byte 2: no part of plain data"),
    "number of 255 bytes": (b"\x8a\xff" + b"\x01" * 255 + b".", "LONG1 .*: a whole number of 255 bytes"),
    "number of 65 bits": (b"\x8a\x09" + b"\x00" * 8 + b"\x01.", "a whole number of 9 bytes"),
    "number of more bytes than are left": (b"\x8a\x08\x01.", "LONG1 at byte 2: 8 bytes are announced, 2 are left"),
    "text of 4 GB": (b"X\xff\xff\xff\xffa.", "BINUNICODE at byte 2: 4,294,967,295 bytes are announced, 2 are left"),
    "text of 2^63 bytes": (b"\x8d" + b"\xff" * 7 + b"\x7fa.", "BINUNICODE8 at byte 2: no part"),
    "bytes of 4 GB": (b"B\xff\xff\xff\xffa.", "BINBYTES at byte 2: 4,294,967,295 bytes"),
    "bytes of 2^63 bytes": (b"\x8e" + b"\xff" * 7 + b"\x7fa.", "BINBYTES8 at byte 2: no part"),
    "byte array of 2^64 bytes": (
        b"\x96" + b"\xff" * 8 + b"a.",
        "BYTEARRAY8 at byte 2: 18,446,744,073,709,551,615 bytes",
    ),
    "frame of 2^64 bytes": (b"\x95" + b"\xff" * 8 + b"N.", "FRAME at byte 2: 18,446,744,073,709,551,615 bytes"),
    "number that ends the file": (b"J\x00", "BININT at byte 2: 4 bytes are taken, 1 are left"),
    "text that is not UTF-8": (b"\x8c\x02\xff\xfe.", "SHORT_BINUNICODE at byte 2: text that is not utf-8"),
    "half of a surrogate pair": (b"\x8c\x03\xed\xa0\x80.", "text that is not utf-8"),
    # containers and what is in them
    "key that is a tuple": (b"})Ns.", "SETITEM at byte 5: a tuple of 0 as a key"),
    "key that is a list": (b"}]Ns.", "a value of type list as a key"),
    "key that is a fraction": (b"}G" + b"\x00" * 8 + b"Ns.", "a value of type float as a key"),
    "key without a value": (b"}(K\x01u.", "SETITEMS at byte 6: 1 keys for 0 values"),
    "bytes as data": (b"]C\x01aa.", "a value of type bytes in a place of data"),
    "class as data": (b"]" + named("numpy", "ndarray") + b"a.", "ndarray in a place of data"),
    "class in a tuple as data": (b"]" + named("numpy", "ndarray") + b"\x85a.", "a tuple of 1 in a place of data"),
    "dtype as data": (b"]" + F4 + b"a.", "a value of type Dtype in a place of data"),
    "function as the whole": (ENCODE + b".", "STOP at byte .*: encode in a place of data"),
    "items for a dict": (b"}Na.", "items for a value of type dict, not for a list"),
    "entries for a list": (b"]K\x01Ns.", "entries for a value of type list, not for a dict"),
    "items for a list below two marks": (b"](()e.", "APPENDS at byte 6: the values that it takes are missing"),
    "end of no mark": (b"]e.", "APPENDS at byte 3: the values that it takes are missing"),
    "tuple of values below a mark": (b"N(\x85.", "TUPLE1 at byte 4: the values that it takes are missing"),
    # the whole
    "nothing on the stack": (b".", "STOP at byte 2: 0 values and 0 marks, not 1 and 0"),
    "two values": (b"NN.", "STOP at byte 4: 2 values and 0 marks"),
    "open mark": (b"N(.", "STOP at byte 4: 0 values and 1 marks"),
    "second pickle behind the first": (b"N.\x80\x04N.", "STOP at byte 3: 4 bytes follow"),
}
# Not behind a protocol of ours
HEADS = {
    b"": "it begins with b'' instead of a protocol from 2 to 5",
    b"\x80": "it begins with",
    b"\x80\x06N.": r"it begins with b'\\x80\\x06'",
    b"(dp0\n.": r"it begins with b'\(d'",
    b"\x1f\x8b\x08": r"it begins with b'\\x1f\\x8b'",
    b"\x80\x04": "it is cut short, its 2 bytes end without a STOP",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_a_line_that_says_what_and_where(tmp_path, name):
    body, says = ATTACKS[name]
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + body)
    with pytest.raises(ArtifactError, match=f"evil.pkl is refused: .*{says}.*; only dicts, .*pickle.dump") as caught:
        safe_pickle.load(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600 + len(str(path))


@pytest.mark.parametrize("head", HEADS)
def test_a_file_that_does_not_begin_as_a_pickle_is_refused(tmp_path, head):
    path = tmp_path / "other.pkl"
    path.write_bytes(head)
    with pytest.raises(ArtifactError, match=f"other.pkl is refused: {HEADS[head]}"):
        safe_pickle.load(path)


class Calls:
    """Unpickles by calling a function."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


class Plain:
    pass


NOT_DATA = {
    "shell": lambda target: Calls(os.system, f"touch {target}"),
    "eval": lambda target: Calls(eval, f"open('{target}', 'w')"),
    "getattr": lambda target: Calls(getattr, dict, "__subclasses__"),
    "factory": lambda target: Calls(collections.defaultdict, os.getcwd),
    "load": lambda target: Calls(np.load, str(target)),
    "array by call": lambda target: Calls(np.ndarray, (2,), "O", b"0123456789abcdef"),
    "fields": lambda target: np.zeros(2, [("a", "f4"), ("b", "i8")]),
    "objects": lambda target: np.array([Plain(), None], dtype=object),
    "texts": lambda target: np.array(["a", "bc"]),
    "object": lambda target: Plain(),
    "function": lambda target: os.path.join,
    "ordered": lambda target: collections.OrderedDict(a=1),
    "set": lambda target: {1, 2},
    "complex": lambda target: 1j,
    "long": lambda target: 2**80,
    "shared": lambda target: [[1]] * 2,
}


@pytest.mark.parametrize("protocol", [0, 1, *PROTOCOLS])
@pytest.mark.parametrize("name", NOT_DATA)
def test_what_is_not_data_is_refused_and_does_nothing(tmp_path, name, protocol):
    target, path = tmp_path / "made_by_pickle", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(NOT_DATA[name](target), protocol))
    with pytest.raises(ArtifactError, match="evil.pkl is refused: "):
        safe_pickle.load(path)
    assert not target.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cut_of_a_file_is_refused(protocol):
    whole = pickle.dumps(
        {1: np.arange(3, dtype=np.float32), "a": [2.5, 300, 70000, 2**40], "b": list(range(40))}, protocol
    )
    read(whole)
    for size in range(len(whole)):
        with pytest.raises(safe_pickle.Refused):
            read(whole[:size])


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="none.pkl is missing"):
        safe_pickle.load(tmp_path / "none.pkl")
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory\)"):
        safe_pickle.load(tmp_path)


# Any bytes: refused, or what pickle makes of them


def refused_or_as_pickle_reads_it(data: bytes) -> bool:
    """Whether the bytes are read; if so, they name nothing but what `safe_pickle.NAMES` holds."""
    try:
        found = read(data)
    except safe_pickle.Refused as error:
        assert str(error).isprintable() and len(str(error)) < 600
        return False
    assert_same(found, pickle.loads(data))
    return True


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A bit flipped, an opcode replaced or put in, a piece cut, dropped, doubled, moved or filled."""
    begin, other, length = draw.randrange(len(data)), draw.randrange(len(data)), draw.choice([1, 1, 2, 4, 9, 30])
    end, piece = begin + length, data[begin : begin + length]
    opcode = bytes([draw.choice(list(safe_pickle.KNOWN_STEPS))[0]])
    first, last, new = draw.choice(
        [
            (begin, begin + 1, bytes([data[begin] ^ 1 << draw.randrange(8)])),
            (begin, begin + 1, opcode),
            (begin, begin, opcode),
            (begin, len(data), b""),
            (begin, end, b""),
            (begin, begin, piece),
            (other, other, piece),
            (begin, end, draw.choice([b"\x00", b"\xff", b"\x7f", b"\x80"]) * length),
        ]
    )
    return data[:first] + new + data[last:]


SEEDS = ["offsets of numpy", "vectors as lists", "matrix", "every type", "tuples", "text", "nested", "repeated text"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_file_is_refused_or_read_as_pickle_reads_it(name, protocol):
    draw = random.Random(f"{name} {protocol}")
    whole = pickle.dumps(PLAIN[name], protocol)
    reads = 0
    for _ in range(300):
        data = whole
        for _ in range(draw.choice([1, 1, 2, 4])):
            data = mutated(data, draw) or b"\x80"
        reads += refused_or_as_pickle_reads_it(data)
    assert reads < 300


@pytest.mark.parametrize("seed", range(4))
def test_opcodes_in_any_order_are_refused_or_read_as_pickle_reads_them(seed):
    draw = random.Random(seed)
    pieces = [b"K\x01", b"M\x01\x00", b"N", b"\x88", b"G" + b"\x00" * 8, b"\x8a\x01\x05", text("a"), b"C\x01b"]
    pieces += [bytes([opcode]) for opcode in b"]})(aesu\x85\x86t\x94Rb"] + [b"h\x00", b"h\x01", b"K\x01" * 40]
    pieces += [F4, EMPTY_ARRAY, ENCODE, SCALAR, named("numpy", "ndarray"), array(b"K\x02\x85", EIGHT)]
    reads = 0
    for _ in range(2500):
        data = b"\x80\x04" + b"".join(draw.choices(pieces, k=draw.randrange(1, 8))) + b"."
        reads += refused_or_as_pickle_reads_it(data)
    assert 0 < reads < 2500


def test_the_corpus_of_the_fuzzer_is_refused_or_read_as_pickle_reads_it():
    """One input a line, in hex: for each branch that atheris reached, the smallest input that reaches it."""
    inputs = [bytes.fromhex(line) for line in CORPUS.read_text().split()]
    assert 0 < sum(map(refused_or_as_pickle_reads_it, inputs)) < len(inputs)


LIMITED = """
import resource, sys, time
from pathlib import Path
from genrec.errors import ArtifactError
from tencentgr import safe_pickle
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sorted(Path(sys.argv[1]).iterdir()):
    begin = time.process_time()
    try:
        safe_pickle.load(path)
    except ArtifactError as error:
        assert "does not fit into memory" not in str(error), error
        assert time.process_time() - begin < 5, error
    else:
        raise SystemExit(f"{path} was read")
print("all refused")
"""


def test_attacks_take_neither_memory_nor_time(tmp_path):
    """All of them, and large ones, in a process of 256 MB more than its imports and 60 seconds."""
    collide = [b"\x8a\x20" + (number * (2**61 - 1)).to_bytes(32, "little") + b"N" for number in range(50_000)]
    long_text = b"X\x00\x00\x10\x00" + b"a" * 2**20
    encode_often = b"(" + ENCODE + b"q\x00" + long_text + b"q\x01" + text("latin1") + b"q\x02"
    large = {
        "marks": b"(" * 2_000_000,
        "tuples": b")" + b"\x85" * 2_000_000,
        "lists": b"]" * 500_000 + b"a" * 500_000,
        "numbers of one hash": b"}(" + b"".join(collide) + b"u.",
        "copies of a text": encode_often + b"h\x00h\x01h\x02\x86R" * 99_999,
        "numbers, then no end": b"](" + b"K\x01" * 2_000_000 + b"e",
    }
    bodies = [body for body, _ in ATTACKS.values()] + list(large.values())
    for number, body in enumerate(bodies):
        (tmp_path / f"{number:03d}.pkl").write_bytes(b"\x80\x04" + body)
    settings = {"capture_output": True, "text": True, "cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], **settings)
    assert (done.returncode, done.stdout) == (0, "all refused\n"), done.stderr


# The competition's files


def test_a_run_reads_every_pickle_once_and_later_runs_none(sample, tmp_path, monkeypatch):
    cache, reads, honest = tmp_path / "cache", [], safe_pickle.load
    monkeypatch.setattr(safe_pickle, "load", lambda path: reads.append(path.name) or honest(path))

    def run():
        source = locate_source(sample, ["81", "82"], cache)
        data = load_data(source)
        queries, (candidates, _) = load_queries(source), load_candidates(source)
        new = rqvae.new_vectors(source, set())
        return [data.items.emb["81"], queries.items.emb["81"], candidates.table.emb["81"], new[1]]

    first = run()
    assert sorted(reads) == ["emb_81_8.pkl", "indexer.pkl", "predict_seq_offsets.pkl", "seq_offsets.pkl"]
    for before, after in zip(first, run(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(reads) == 4


INDEXERS = {
    "a list": ([], "must hold a dict with the keys 'u', 'i' and 'f'"),
    "features in a list": ({"u": {}, "i": {}, "f": []}, "a dict by feature at 'f'"),
    "users in a list": ({"u": [], "i": {}, "f": {}}, "must hold a dict of ids at 'u', found list"),
    "ids of text": ({"u": {"a": "1"}, "i": {}, "f": {}}, "the ids of 'u' are not 1..1"),
    "ids of two types": ({"u": {"a": "1", "b": 1}, "i": {}, "f": {}}, "the ids of 'u' are not 1..2"),
    "an id of True": ({"u": {"a": True}, "i": {}, "f": {}}, "the ids of 'u' are not 1..1"),
    "ids with a gap": ({"u": {}, "i": {}, "f": {"1": {5: 2}}}, "the ids of '1' are not 1..1"),
    "a name too long": ({"u": {}, "i": {"x" * 300: 1}, "f": {}}, "the name 'x+' of 300 characters; up to 256 are read"),
    "a name with a NUL": ({"u": {}, "i": {"x\x00": 1}, "f": {}}, r"the name 'x\\x00' of 2 characters"),
}


@pytest.mark.parametrize("name", INDEXERS)
def test_an_indexer_of_another_form_is_refused(tmp_path, name):
    value, says = INDEXERS[name]
    safe_pickle.dump(value, tmp_path / files.INDEXER)
    with pytest.raises(ArtifactError, match=f"indexer.pkl.*{says}"):
        files.read_indexer(tmp_path)


OFFSETS = {
    "text": ("abc", "must hold a list of byte offsets"),
    "a list of text": (["a"], "must hold a list of byte offsets"),
    "a list of arrays": ([np.zeros(9, np.int64)] * 2, "must hold a list of byte offsets"),
    "fractions": (np.zeros(3), "must hold a list of byte offsets"),
    "a matrix": (np.zeros((3, 3), np.int64), "must hold a list of byte offsets"),
    "a dict by name": ({"a": 0}, "or a dict of them by line number"),
    "a negative one": ([0, -5], "run from -5 to 0"),
    "one beyond 63 bits": ([0, 2**63], "run from 0 to 9223372036854775808"),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_offsets_of_another_form_are_refused(tmp_path, name):
    value, says = OFFSETS[name]
    safe_pickle.dump(value, tmp_path / files.SEQ_OFFSETS)
    with pytest.raises(ArtifactError, match=f"seq_offsets.pkl.*{says}"):
        files.read_offsets(tmp_path / files.SEQ_OFFSETS)


@pytest.mark.parametrize("value", [[3, 5], {1: 5, 0: 3}, np.array([3, 5]), [np.int64(3), np.int64(5)]])
def test_offsets_of_every_form_are_numbers(tmp_path, value):
    safe_pickle.dump(value, tmp_path / files.SEQ_OFFSETS)
    assert_same(files.read_offsets(tmp_path / files.SEQ_OFFSETS).tolist(), [3, 5])


VECTORS = {
    "text": ({7: "abc"}, r"the vector of 7 is not 2 numbers"),
    "a dict": ({7: {}}, r"the vector of 7 is not 2 numbers"),
    "rows of two lengths": ({7: [[1.0], [1.0, 2.0]]}, "the vector of 7 is not 2 numbers"),
    "another width": ({7: [1.0]}, r"the vector of 7 has shape \(1,\), expected \(2,\)"),
    "a list": ([1.0], "must hold a dict of vectors, found list"),
    "none": ({}, "holds no vectors"),
    "a name too long": ({"x" * 300: [1.0, 2.0]}, "of 300 characters"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_another_form_are_refused(by_hand, name):
    value, says = VECTORS[name]
    safe_pickle.dump(value, by_hand / files.EMBEDDINGS / "emb_81_2.pkl")
    with pytest.raises(ArtifactError, match=f"emb_81_2.pkl.*{says}"):
        load_data(locate_source(by_hand))


def test_vectors_are_the_same_as_arrays_or_lists_and_by_number_or_name(by_hand):
    path = by_hand / files.EMBEDDINGS / "emb_81_2.pkl"
    expected = load_data(locate_source(by_hand)).items.emb["81"].tolist()
    safe_pickle.dump({"501": [1.0, 0.0], np.int64(503): (0.0, 2.0), "none of them": [5.0, 5.0]}, path)
    assert load_data(locate_source(by_hand)).items.emb["81"].tolist() == expected
