"""What RL starts from: prompts that evaluation asks too, and a policy that can be trained."""

import pytest
import torch

from genrec.data.tasks import Texts, make_texts
from genrec.errors import ArtifactError
from genrec.models.generative import GenerativeModel
from genrec.models.language import load_pretrained
from genrec.sids import make_index
from genrec.training.rl_start import load_policy
from tests.training.small_rl import configured, prompts_of


def test_a_target_outside_the_catalogue_is_named(shop, tmp_path):
    fewer = Texts(shop.texts.catalog, make_index(shop.texts.index.codes[:10], (4, 5)), "toy")
    tokenizer = load_pretrained(str(shop.model), torch.float32)[1]
    with pytest.raises(ArtifactError, match=r"target 1\d is outside the catalogue of 10 items"):
        prompts_of(configured(tmp_path, sample_train=False), shop.data, fewer, tokenizer)


def test_prompts_carry_target_and_history_of_each_task(shop, tmp_path):
    tokenizer = load_pretrained(str(shop.model), torch.float32)[1]
    config = configured(tmp_path, sample_train=False, tasks={"sid_to_sid": 1, "title_to_sid": 1})
    rows = prompts_of(config, shop.data, shop.texts, tokenizer)
    count = len(shop.data.splits["train"])
    assert len(rows) == count + 20 and rows[count]["task"] == "title_to_sid"
    assert rows[count + 3]["target"] == 3 and set(rows[count + 3]["history"]) == {-1}
    assert "Item 3," in tokenizer.decode(rows[count + 3]["prompt"])
    example = shop.data.examples("train")
    assert rows[7]["history"] == example.history[7].tolist() and rows[7]["target"] == example.target[7]


def test_with_a_profile_rl_asks_what_evaluation_asks(shop, tmp_path):
    model, tokenizer = load_pretrained(str(shop.model), torch.float32)
    texts = make_texts(shop.data, shop.texts.index, "toy", ["taste", "companions"])
    config = configured(tmp_path, sample_train=False, tasks={"sid_to_sid": 1})
    rows = prompts_of(config, shop.data, texts, tokenizer)
    asked = GenerativeModel(model, tokenizer, texts, 200).prompts(shop.data.examples("train"))
    assert rows["prompt"] == asked and "Others bought with these" in tokenizer.decode(asked[7])


def test_a_model_that_cannot_read_trees_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("genrec.training.rl_start.load_pretrained", lambda *_: (torch.nn.Linear(1, 1), None))
    monkeypatch.setattr("genrec.training.rl_start.takes_trees", lambda _: False)
    with pytest.raises(ArtifactError, match="refuses or ignores 4-D attention masks .*--skip rl"):
        load_policy(tmp_path, torch.device("cpu"))
