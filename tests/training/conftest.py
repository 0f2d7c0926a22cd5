"""What tests of training share: texts, tokenizer and model of a small catalogue, users' sequences, and an SFT model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genrec.config_checks import validate
from genrec.data.sequences import Sequences, Split
from genrec.data.tasks import TASKS, Texts
from genrec.models.language import make_scratch, teach_sids, train_tokenizer
from genrec.sids import make_index
from tests.small_shop import small_shop
from tests.training.small_rows import NUM_ITEMS, make_small_model, make_small_texts, make_small_tokenizer


@pytest.fixture(scope="module")
def texts():
    return make_small_texts()


@pytest.fixture(scope="module")
def tokenizer(texts):
    return make_small_tokenizer(texts)


@pytest.fixture(scope="module")
def model(texts, tokenizer):
    return make_small_model(texts, tokenizer)


@pytest.fixture(scope="module")
def sequences():
    """Users of 2, 5 and 14 events; all but each user's first event are train targets, save one in the middle."""
    rng = np.random.default_rng(0)
    offset = np.array([0, 2, 7, 21])
    sequences = Sequences(
        rng.integers(0, NUM_ITEMS, 21).astype(np.int32), np.arange(21), offset, np.array(["a", "b", "c"])
    )
    end = np.setdiff1d(np.arange(21), [*offset[:-1], 12])
    return sequences, Split(np.searchsorted(offset, end, side="right").astype(np.int32) - 1, end)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A small shop, and a random model of it in a directory, as sft.py leaves one."""
    data = small_shop()
    codes = np.stack([np.arange(20) // 5, np.arange(20) % 5], axis=1)
    texts = Texts(data.catalog, make_index(codes, (4, 5)), "toy")
    prompts = [texts.prompt(task, np.zeros(0, int)).text for task in TASKS.values()]
    tokenizer = train_tokenizer([*data.catalog.title.tolist(), *prompts], 400)
    torch.manual_seed(0)
    scratch = validate({}).sft.scratch.model_copy(update={"hidden_size": 32, "num_layers": 2, "dropout": 0.1})
    model = make_scratch(scratch, tokenizer, 256)
    teach_sids(model, tokenizer, texts.index, None)
    directory = tmp_path_factory.mktemp("sft")
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return SimpleNamespace(data=data, texts=texts, model=directory)
