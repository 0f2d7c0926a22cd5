"""The card of a model directory comes back as it was written, and names what the model is asked with."""

from dataclasses import replace

import pytest

from genrec import artifacts
from genrec.data.tasks import RECOMMEND
from genrec.errors import ArtifactError
from genrec.models.card import Card, load_card, prompts_of_evaluation, prompts_of_rl, save_card
from genrec.sids import load_index
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


def test_rl_asks_what_evaluation_asks_and_the_tasks_that_the_model_was_taught():
    settings = parse_flags(["--rl.tasks", "{sid_to_sid: 1, title_to_sid: 1}"]).config.rl
    card = Card("abc", {"title -> sid": "1"}, "toy", 256, ["taste"])
    assert prompts_of_evaluation(card) == ["toy", "taste", RECOMMEND.form]
    assert prompts_of_rl(card, settings) == [*prompts_of_evaluation(card), "title -> sid"]
