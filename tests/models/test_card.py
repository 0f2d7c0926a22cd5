"""The card of a model directory comes back as it was written, and names what the model is asked with."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from genrec import artifacts
from genrec.data.tasks import RECOMMEND
from genrec.errors import ArtifactError
from genrec.models.card import Card, load_card, load_own_index, prompts_of_evaluation, prompts_of_rl, save_card
from genrec.sids import load_index, make_index, save_index
from genrec.store import RunStore
from tests import parse_flags
from tests.training.small_rows import make_small_texts


@pytest.fixture(scope="module")
def texts():
    return make_small_texts()


def test_a_card_comes_back_with_its_sids(tmp_path, texts):
    card = Card("abc", {"toy": "1"}, "toy", 256, ["taste"])
    save_card(tmp_path, card, texts.index)
    files = load_card(tmp_path).files
    assert load_card(tmp_path) == replace(card, files=files) and set(files) == {artifacts.SID_INDEX}
    assert (load_index(tmp_path / artifacts.SID_INDEX).codes == texts.index.codes).all()
    (tmp_path / artifacts.CARD).unlink()
    with pytest.raises(ArtifactError, match=r"is not a model of this project: it has no genrec\.json"):
        load_card(tmp_path)
    with pytest.raises(ArtifactError, match="elsewhere is not a directory"):
        load_card(tmp_path / "elsewhere")


def test_a_model_fits_the_sids_that_its_own_grew_to_and_no_others(tmp_path):
    """The run's SIDs have two items more; what they grew from stands in its manifest alone."""
    codes = np.array([[0, 1], [2, 2], [1, 0], [2, 0], [0, 0]])
    index, grown = make_index(codes[:3], (3, 3)), make_index(codes, (3, 3))
    save_index(index, tmp_path / artifacts.SID_INDEX)

    def load(sids, lineage):
        store = SimpleNamespace(index=lambda: sids, sid_lineage=lambda: lineage, path=lambda stage: tmp_path / "sids")
        return load_own_index(tmp_path, cast(RunStore, store))

    assert len(load(grown, ["new", "old"])) == len(index) + 2
    with pytest.raises(ArtifactError, match="though genrec.json says that the model was trained with these SIDs"):
        load(grown, ["new"])
    turned = make_index(codes[::-1], (3, 3))
    with pytest.raises(ArtifactError, match="one of the two was changed"):
        load(turned, ["new", "old"])


def test_rl_asks_what_evaluation_asks_and_the_tasks_that_the_model_was_taught():
    settings = parse_flags(["--rl.tasks", "{sid_to_sid: 1, title_to_sid: 1}"]).config.rl
    card = Card("abc", {"title -> sid": "1"}, "toy", 256, ["taste"])
    assert prompts_of_evaluation(card) == ["toy", "taste", RECOMMEND.form]
    assert prompts_of_rl(card, settings) == [*prompts_of_evaluation(card), "title -> sid"]
