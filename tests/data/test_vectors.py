"""Text vectors are checked before anything is built on them."""

import numpy as np
import pytest

from genrec.data.vectors import check_vectors, largest_magnitude, load_vectors, scale_to_unit
from genrec.errors import ArtifactError


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.full((3, 2), np.nan, np.float32), "NaN or infinite numbers in 3 rows, first row 0"),
        (np.array([[1, 1], [0, 0], [1, 0]], np.float32), "1 rows of zeros, first row 1"),
        (np.ones((2, 2), np.float32), "2 rows, the catalogue has 3"),
        (np.ones((3, 2), np.int64), "float matrix"),
        (np.ones(3, np.float32), "float matrix"),
        (np.ones((3, 0), np.float32), "width 0"),
        (np.full((3, 2), -3e38, np.float32), r"values up to 3e\+38; distances in float32 allow 6.52e\+18 at width 2"),
        (np.full((3, 2), 1e300), r"values up to 1e\+300; distances in float32 allow"),
    ],
)
def test_vectors_no_quantizer_can_use_are_refused(vectors, said):
    with pytest.raises(ArtifactError, match=said):
        check_vectors(vectors, 3, "these vectors")


def test_vectors_of_any_float_are_read_as_float32(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((3, 2), dtype=np.float64))
    read = load_vectors(tmp_path / "v.npy", 3)
    assert read.dtype == np.float32 and read.shape == (3, 2)


def test_a_file_that_is_no_matrix_names_the_command_that_makes_it(tmp_path):
    (tmp_path / "v.npy").write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="v.npy cannot be read.*run genrec embed"):
        load_vectors(tmp_path / "v.npy", 3)


def test_vectors_are_scaled_to_length_one_and_zeros_stay():
    assert scale_to_unit(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


@pytest.mark.parametrize("width", [1, 4, 384])
def test_squared_distances_of_the_largest_vectors_are_finite(width):
    row = np.full(width, largest_magnitude(width) * (1 - 1e-6), np.float32)
    assert np.isfinite(((row - -row) ** 2).sum())
    check_vectors(row[None], 1, "this vector")
    with np.errstate(over="ignore"):
        assert np.isinf(((row * 1.01 - row * -1.01) ** 2).sum())
