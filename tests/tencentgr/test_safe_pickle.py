"""Pickles hold data or are refused."""

import collections
import os
import pickle

import numpy as np
import pytest

from genrec.errors import ArtifactError
from tencentgr import safe_pickle

PLAIN = {
    "indexer": {"f": collections.defaultdict(dict, {"101": {5: 1}}), "u": {"ann": 1}},
    "offsets": [0, 18809, 2**40],
    "ordered": collections.OrderedDict(a=(1, 2.5, None, True, b"x")),
    "vector": {1: np.arange(3, dtype=np.float32)},
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "scalars": [np.float32(1.5), np.int64(7), np.str_("a")],
    "names": np.array(["a", "bc"]),
    "sets": {1, 2, 3},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_comes_back(tmp_path, name, protocol):
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(PLAIN[name], protocol))
    found = safe_pickle.load(path)
    assert type(found) is type(PLAIN[name])
    np.testing.assert_equal(found, PLAIN[name])


class Calls:
    """Unpickles by calling a function."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


class Plain:
    pass


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "touch {target}"),
        Calls(eval, "open('{target}', 'w')"),
        Calls(exec, "open('{target}', 'w')"),
        Calls(getattr, dict, "__subclasses__"),
        Calls(collections.defaultdict, os.getcwd),
        Calls(np.load, "{target}"),
        Calls(np.dtype, "O"),
        Calls(np.ndarray, (2,), "O", b"0123456789abcdef"),
        Calls(np.dtype, [("a", "O")]),
        np.array([Plain(), None], dtype=object),
        Plain(),
        os.path.join,
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_does_anything_is_refused_by_name(tmp_path, value, protocol):
    target, path = tmp_path / "made_by_pickle", tmp_path / "evil.pkl"
    if isinstance(value, Calls):
        function, arguments = value.how
        filled = [text.format(target=target) if isinstance(text, str) else text for text in arguments]
        value = Calls(function, *filled)
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(ArtifactError, match="evil.pkl (is refused: it|cannot be read)"):
        safe_pickle.load(path)
    assert not target.exists()


def test_dotted_names_lead_nowhere(tmp_path):
    path = tmp_path / "dotted.pkl"
    path.write_bytes(b"\x80\x04\x8c\x08builtins\x8c\x0edict.__class__\x93.")
    with pytest.raises(ArtifactError, match="refused"):
        safe_pickle.load(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_file_is_named(tmp_path, share):
    whole = pickle.dumps(PLAIN["vector"])
    path = tmp_path / "cut.pkl"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ArtifactError, match="cut.pkl cannot be read"):
        safe_pickle.load(path)
