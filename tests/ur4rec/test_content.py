"""What the experts read: each exists where its data do, and says why where they do not."""

import json

import numpy as np
import pytest

from genrec.errors import ArtifactError
from tests.ur4rec.conftest import ITEMS, WIDTH, item_metadata, user_sequences
from tests.ur4rec.small import write_posters
from UR4Rec.data import content, features, poster_encoder
from UR4Rec.data.content import ContentSource
from UR4Rec.data.generated import movielens_source
from UR4Rec.models.preferences import NEVER


@pytest.fixture
def encoded(monkeypatch):
    """Texts that were encoded, by letters in place of a sentence encoder."""
    texts_seen = []

    def encode_items(texts, settings, work):
        work.mkdir(parents=True)
        texts_seen.extend(texts)
        return np.array([[text.count(str(n)) + 1 for n in range(WIDTH)] for text in texts], dtype=np.float32)

    monkeypatch.setattr(features, "encode_items", encode_items)
    monkeypatch.setattr(features, "checkpoint_fingerprint", lambda encoder: "letters")
    monkeypatch.setattr(content, "resolve_checkpoint", str)
    return texts_seen


def source(tmp_path, **changes) -> ContentSource:
    given = {"encoder": "letters", "texts_dir": tmp_path / "texts", "image_dir": None, "image_encoder": None}
    return ContentSource(item_metadata(), user_sequences(), **{**given, "cache": tmp_path / "cache", **changes})


def write_texts(directory, snapshots: bool = True, data: str | None = None) -> None:
    directory.mkdir(exist_ok=True)
    own = movielens_source("", item_metadata(), user_sequences()).fingerprint
    (directory / "made_of.json").write_text(json.dumps({"data": data or own}))
    (directory / "user_preferences.json").write_text(json.dumps({"100": "likes 1", "101": "likes 2"}))
    (directory / "item_descriptions.json").write_text(json.dumps({"7": "A film of sevens"}))
    if snapshots:
        (directory / "user_preference_snapshots.json").write_text(json.dumps({"100": {"4": "liked 3"}}))


def test_texts_are_encoded_once_for_the_three_loaders_and_cached(tmp_path, encoded):
    first = source(tmp_path)
    assert first.content is first.content and len(encoded) == ITEMS
    assert first.content.features.text.shape == (ITEMS + 1, WIDTH) and first.content.preferences is None
    assert source(tmp_path).content.features.text.tolist() == first.content.features.text.tolist()
    assert len(encoded) == ITEMS


def test_all_three_experts_have_their_data_where_they_lie(tmp_path, encoded, monkeypatch):
    monkeypatch.setattr(poster_encoder, "SIDE", 8)
    write_texts(tmp_path / "texts")
    write_posters(tmp_path / "image", [1, 2, 5])
    found = source(tmp_path, image_dir=tmp_path / "image").content
    assert found.missing == {}
    assert any("A film of sevens" in text for text in encoded)
    assert np.flatnonzero(found.features.has_image).tolist() == [1, 2, 5]
    ends = [sorted(e for e in row if e != NEVER) for row in found.preferences.end[:3].tolist()]
    assert ends == [[4, 10], [10], []]  # a moment, and the whole train prefix of twelve films


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (None, "no .*user_preferences.json; python UR4Rec/models/llm_generator.py"),
        ({"snapshots": False}, "no user_preference_snapshots.json in .*--snapshots 3 writes it"),
        ({"data": "elsewhere"}, "was made from data elsewhere, here it is"),
    ],
)
def test_why_there_is_no_preference_expert(tmp_path, encoded, texts, why):
    if texts is not None:
        write_texts(tmp_path / "texts", **texts)
    found = source(tmp_path).content
    assert found.missing.keys() == {"preference", "image"} and found.preferences is None
    pytest.raises(ValueError, lambda: raise_text(found.missing["preference"])).match(why)
    assert not any("sevens" in text for text in encoded) or texts == {"snapshots": False}


def raise_text(text: str):
    raise ValueError(text)


def test_without_an_encoder_nothing_is_read_and_all_three_say_so(tmp_path, monkeypatch):
    assert set(source(tmp_path, encoder=None).content.missing.values()) == {"encoder=None"}
    missing = source(tmp_path, encoder="package:no_such_encoder").content.missing
    assert "no installed package 'no_such_encoder'" in missing["description"] and len(missing) == 3


def test_posters_of_other_films_are_no_posters(tmp_path, encoded):
    write_posters(tmp_path / "image", [900])
    found = source(tmp_path, image_dir=tmp_path / "image").content
    assert "has no poster <original id>.png of these films" in found.missing["image"]
    with pytest.raises(ArtifactError, match="no folder of posters at"):
        source(tmp_path, image_dir=tmp_path / "nowhere")
