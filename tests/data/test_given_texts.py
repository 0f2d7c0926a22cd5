import json

import numpy as np
import pytest

from genrec.artifacts import ArtifactError
from genrec.data.given_texts import read_preferences, texts_of, with_descriptions
from tests.small_shop import small_catalog


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_description_joins_the_items_own_text(tmp_path):
    path = write(tmp_path / "d.json", {"B000": "Given &amp; <b>clean</b>.", "B001": "More.", "B999": "x", "B002": " "})
    catalog, line = with_descriptions(small_catalog(5), path)
    assert catalog.text.tolist() == ["Given & clean .", "text 1 More.", "text 2", "", "text 4"]
    assert catalog.title.tolist() == small_catalog(5).title.tolist()
    assert line == f"{path}: texts of 2 of 5 items; 1 are of no one here"


def test_a_file_of_other_data_is_refused_with_ids_of_both(tmp_path):
    with pytest.raises(ArtifactError, match=r"none of the 1 ids .* 5 items here \(there '1'; here 'B000', 'B001'"):
        with_descriptions(small_catalog(5), write(tmp_path / "d.json", {"1": "x"}))


@pytest.mark.parametrize("content", [["a"], {"1": 2}, {"1": {"text": "x"}}])
def test_a_file_of_another_shape_is_one_line(tmp_path, content):
    with pytest.raises(ArtifactError, match='must hold {"id": "text", ...}'):
        texts_of(["1"], write(tmp_path / "d.json", content), "items")


def test_preferences_must_be_of_this_very_data(tmp_path):
    path = write(tmp_path / "user_preferences.json", {"u1": "Likes a.", "u2": "Likes b."})
    users = np.array(["u2", "u3"])
    with pytest.raises(ArtifactError, match="data artifact unknown, this run has abc.*--run_dir THIS_RUN"):
        read_preferences(path, "abc", users)
    write(tmp_path / "made_of.json", {"source": "ml-100k"})
    with pytest.raises(ArtifactError, match="data artifact none"):
        read_preferences(path, "abc", users)
    write(tmp_path / "made_of.json", {"data_artifact": "abc"})
    texts, line = read_preferences(path, "abc", users)
    assert texts.tolist() == ["Likes b.", ""] and "1 of 2 users; 1 are of no one here" in line
