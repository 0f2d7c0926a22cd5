"""Pickles of plain data, the only ones that are opened: containers, numbers, strings, bytes, numpy arrays.

A pickle is a program: what it may call is the table below and nothing else, so a file from elsewhere can hold data but
do nothing. `dump` writes such files. No other module imports pickle.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genrec.errors import ArtifactError, first_line

PLAIN_KINDS = "biufSU"  # bool, int, unsigned, float, bytes, str; no objects
ARRAY = "numpy.ndarray"  # stands for the class, which a pickle may name but not call


def dump(value: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=4)


def load(path: Path) -> Any:
    """The plain value of a pickle, or an ArtifactError that names the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file).load()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing") from None
    except Refused as error:
        raise ArtifactError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__}: {first_line(error)}); it is cut short or damaged"
        ) from None


class Refused(pickle.UnpicklingError):
    """A pickle that asks for more than data."""


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise Refused(f"it calls {module}.{name}, and only plain data and numpy arrays are read") from None


def plain_dtype(code: Any, *flags: Any) -> np.dtype:
    dtype = np.dtype(code, *flags)
    if dtype.kind not in PLAIN_KINDS:
        raise Refused(f"it holds an array of type {dtype}, and only numbers and strings are read")
    return dtype


def plain_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """numpy's `_reconstruct`: an empty array that the pickle fills next."""
    if kind is not ARRAY:
        raise Refused(f"it holds a {kind!r} in place of an array")
    return np.ndarray.__new__(np.ndarray, shape, plain_dtype(code))


def plain_buffer(buffer: Any, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    """numpy's `_frombuffer`."""
    return np.frombuffer(buffer, dtype=plain_dtype(dtype)).reshape(shape, order=order)


def plain_scalar(dtype: np.dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype=plain_dtype(dtype))[0]


def plain_bytes(text: str, encoding: str) -> bytes:
    """How old protocols write bytes."""
    return text.encode("latin1" if encoding == "latin1" else "ascii")


CONTAINERS = (dict, list, set, frozenset, tuple, int, float, str, complex)
ALLOWED: dict[tuple[str, str], Callable[..., Any] | type | str] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): plain_bytes,
    ("numpy", "ndarray"): ARRAY,
    ("numpy", "dtype"): plain_dtype,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in CONTAINERS},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): plain_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): plain_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): plain_buffer for core in ("core", "_core")},
}
