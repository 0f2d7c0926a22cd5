import numpy as np
import pytest

from genrec.errors import ArtifactError
from tests.ur4rec.small import film_id, write_posters
from UR4Rec.data import features
from UR4Rec.data.features import ENCODER, encode_descriptions, encode_texts, item_features, load_image_vectors


def metadata(num_items=6):
    return {
        n: {
            "title": f"Film {n}",
            "genres": ["Drama"],
            "genres_str": "Drama",
            "description": f"Film {n}. Genres: Drama" if n == 1 else f"About {n}.",
            "original_id": film_id(n),
        }
        for n in range(1, num_items + 1)
    }


@pytest.fixture
def encoder(monkeypatch):
    """Letters counted, in place of a sentence encoder; what it was asked is kept."""
    asked = []

    def encode_items(texts, settings, work):
        asked.append(texts)
        work.mkdir(parents=True, exist_ok=True)
        return np.array([[text.count(letter) for letter in "abcdefgh "] for text in texts], dtype=np.float32)

    monkeypatch.setattr(features, "encode_items", encode_items)
    return asked


def test_an_item_is_its_title_genres_and_own_description(encoder, tmp_path):
    vectors = encode_descriptions(metadata(), cache=tmp_path, descriptions={"9": "Given."})
    assert encoder[0][:3] == [
        "Film 1. Categories: Drama",  # its description is the loader's stand-in
        "Film 2. Categories: Drama. About 2",
        "Film 3. Categories: Drama. Given",  # by original id
    ]
    assert vectors.vector.shape == (7, 9) and not vectors.vector[0].any()
    assert vectors.present.tolist() == [False, *[True] * 6]


def test_vectors_are_kept_until_anything_changes(encoder, tmp_path):
    first = encode_descriptions(metadata(), cache=tmp_path)
    again = encode_descriptions(metadata(), cache=tmp_path)
    assert len(encoder) == 1 and np.array_equal(first.vector, again.vector)
    changed = metadata()
    changed[4]["description"] = "Another."
    encode_descriptions(changed, cache=tmp_path)
    encode_descriptions(metadata(), encoder="another/encoder", cache=tmp_path)
    assert len(encoder) == 3
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npz"] * 3  # nothing half done is left


def test_users_without_a_text_are_unknown_rows(encoder, tmp_path):
    vectors = encode_texts(["Likes b.", "", "Likes a."], ENCODER, tmp_path)
    assert encoder == [["Likes b.", "Likes a."]]
    assert vectors.present.tolist() == [True, False, True] and not vectors.vector[1].any()
    with pytest.raises(ArtifactError, match="none of 3 texts says anything"):
        encode_texts(["", " ", ""], ENCODER)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model_dir(request, tmp_path_factory):
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**shape, "vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**shape, "image_size": 32, "patch_size": 16}
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model, size = transformers.CLIPModel(config), {"shortest_edge": 32}
        processor = transformers.CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32})
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model, processor = (
            transformers.SiglipModel(config),
            transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def test_posters_become_vectors_of_their_items(model_dir, tmp_path):
    write_posters(tmp_path / "image", [film_id(n) for n in (1, 4, 5)])
    vectors = load_image_vectors(tmp_path / "image", metadata(), model_dir, cache=tmp_path / "cache", batch_size=2)
    assert np.flatnonzero(vectors.present).tolist() == [1, 4, 5]
    assert not vectors.vector[~vectors.present].any()
    assert np.allclose(np.linalg.norm(vectors.vector[vectors.present], axis=1), 1, atol=1e-5)
    alone = load_image_vectors(tmp_path / "image", metadata(), model_dir, batch_size=1)
    assert np.allclose(vectors.vector, alone.vector, atol=1e-5)
    assert not np.allclose(vectors.vector[1], vectors.vector[5], atol=1e-3)  # another picture


def test_other_posters_are_not_taken_for_these(model_dir, tmp_path, monkeypatch):
    write_posters(tmp_path / "image", [film_id(1)])
    first = load_image_vectors(tmp_path / "image", metadata(), model_dir, cache=tmp_path / "cache")
    monkeypatch.setattr(features, "encode_posters", lambda paths, *rest: np.ones((len(paths), 8), np.float32))
    assert np.array_equal(
        load_image_vectors(tmp_path / "image", metadata(), model_dir, cache=tmp_path / "cache").vector, first.vector
    )
    write_posters(tmp_path / "image", [film_id(2)])
    other = load_image_vectors(tmp_path / "image", metadata(), model_dir, cache=tmp_path / "cache")
    assert other.present.sum() == 2


def test_ready_vectors_are_read_and_zeros_are_missing(tmp_path):
    vectors = np.ones((7, 4), dtype=np.float32)
    vectors[[0, 3]] = 0
    np.save(tmp_path / "image.npy", vectors)
    vectors = load_image_vectors(tmp_path / "image.npy", metadata())
    assert vectors.present.tolist() == [False, True, True, False, True, True, True]


def broken(row):
    vectors = np.ones((7, 4))
    vectors[row] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((6, 4)), r"shape \(7, width\).*found float64 \(6, 4\)"),
        (np.ones((7, 4), dtype=int), "must hold floats"),
        (broken(2), r"NaN, infinite numbers or such beyond 1e\+15, first in row 2"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_vectors_of_no_use_are_one_line(tmp_path, vectors, said):
    np.save(tmp_path / "image.npy", vectors, allow_pickle=True)
    with pytest.raises(ArtifactError, match=said):
        load_image_vectors(tmp_path / "image.npy", metadata())


def test_what_is_missing_for_posters_is_said(tmp_path):
    write_posters(tmp_path / "image", [9999])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="name the directory of a CLIP or SigLIP model"):
        load_image_vectors(tmp_path / "image", metadata())
    with pytest.raises(ArtifactError, match="no poster <original id>.png of any of 6 items"):
        load_image_vectors(tmp_path / "image", metadata(), tmp_path / "empty")
    write_posters(tmp_path / "image", [3])
    with pytest.raises(ArtifactError, match="cannot be used for posters"):
        load_image_vectors(tmp_path / "image", metadata(), tmp_path / "empty")


def test_features_without_posters_say_so(encoder, tmp_path):
    vectors = item_features(encode_descriptions(metadata(), cache=tmp_path))
    assert vectors.image is None and not vectors.has_image.any() and len(vectors.has_image) == 7
    with pytest.raises(ArtifactError, match="7 rows of text, but 3 of images"):
        item_features(encode_descriptions(metadata(), cache=tmp_path), features.Vectors(np.ones((3, 2)), np.ones(3)))
