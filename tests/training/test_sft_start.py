"""What SFT starts from: texts about users that belong to this run, and a model that knows its SIDs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.artifacts import SID_INDEX
from genrec.data.given_texts import MADE_OF, SNAPSHOTS, read_training_preferences
from genrec.data.prepared import Prepared
from genrec.data.updated import Updated
from genrec.errors import ArtifactError, ConfigError
from genrec.models.language import sid_vocabulary
from genrec.sids import make_index, save_codebooks, save_index
from genrec.store import RunStore
from genrec.training.sft_start import (
    find_legal_tokens,
    make_model,
    make_task_dataset,
    make_training_texts,
    read_codebooks,
    read_preferences,
)
from tests.small_shop import small_config, small_shop, write_data, write_sids

SMALL = {"train_from_scratch": True, "scratch": {"hidden_size": 16, "num_layers": 1, "num_heads": 2}}


def shop(texts, sequences):
    events, train = sequences
    return Prepared(texts.catalog, events, {"train": train, "valid": train.take([]), "test": train.take([])}, 50)


def record(history, target, split="train", user="b", text="Likes brass."):
    return {"user": user, "split": split, "user_preference": text,
            "context": {"history_items": history, "target_item": target}}  # fmt: skip


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_about_users_find_their_training_target_and_no_other_split(texts, sequences, tmp_path, name):
    events, train = sequences
    items = events.item[2:7].tolist()  # of user b
    rows = [
        record(items[:2], items[2]),
        record([f"Brass valve number {items[1]}"], items[2], text="By the shop's ids."),  # the history may be cut
        record(items[:3], items[3], split="test", text="Secret."),
        record(items[:1], items[4], text="No such history."),
    ]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(lines if name.endswith("l") else f"[{','.join(lines.splitlines())}]")
    found, line = read_training_preferences(tmp_path / name, "", shop(texts, sequences))
    assert list(zip(found.user, found.end, found.text, strict=True)) == [
        (1, 4, "By the shop's ids."),
        (1, 4, "Likes brass."),
    ]
    assert "4 rows, 3 of split train, 2 of them training rows here" in line


@pytest.fixture
def ready(tmp_path):
    """A run with data and SIDs -> what makes its configuration with knobs of sft."""

    def make(**sft):
        return small_config(tmp_path / "run", sft=SMALL | sft)

    write_data(make(), small_shop())
    write_sids(make(), small_shop())
    return make


def start(config):
    """Texts, model and tokenizer, after the same draws each time."""
    store = RunStore.of(config)
    texts = make_training_texts(store, store.prepared(), config.data.source, config.sft)
    torch.manual_seed(0)
    return texts, *make_model(store, texts, config.sft, "cpu")


def test_a_small_model_knows_each_sid_token_and_reads_its_prompts(ready):
    texts, model, tokenizer = start(ready())
    assert len(sid_vocabulary(tokenizer, texts.index).token) == sum(texts.index.sizes)
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    again = start(ready())[1]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_sid_rows_begin_as_sid_init_says(ready):
    config = ready(sid_init="codebooks")
    store = RunStore.of(config)
    with pytest.raises(ArtifactError, match=r"sid_init codebooks: .*rqkmeans_plus has none .*choose text or random"):
        read_codebooks(store)
    tables = {}
    rng = np.random.default_rng(0)
    books = tuple(rng.normal(size=(size, 8)).astype(np.float32) for size in store.index().sizes)
    for name in ("random", "text"):
        texts, model, tokenizer = start(ready(sid_init=name))
        tables[name] = model.get_input_embeddings().weight.detach()[sid_vocabulary(tokenizer, texts.index).token]
    save_codebooks(books, store.path("sids") / "codebooks.npz")
    assert [book.shape for book in read_codebooks(store)] == [book.shape for book in books]
    texts, model, tokenizer = start(config)
    tables["codebooks"] = model.get_input_embeddings().weight.detach()[sid_vocabulary(tokenizer, texts.index).token]
    assert not any(torch.equal(tables[a], tables[b]) for a, b in (("random", "text"), ("text", "codebooks")))


def test_rows_of_all_tasks_in_their_shares(ready):
    config = ready(tasks={"sid_to_sid": 1, "title_to_sid": 2}, pack="none")
    texts, _, tokenizer = start(config)
    rows = make_task_dataset(small_shop(), texts, tokenizer, config.sft, config.run.seed)
    assert len(rows) == len(small_shop().splits["train"]) + 2 * 20
    assert rows["length"] == [len(ids) for ids in rows["ids"]]


def test_a_base_model_that_was_taught_these_sids_keeps_its_rows_of_them(ready, tmp_path):
    texts, model, tokenizer = start(ready(sid_init="random"))
    base, given = tmp_path / "base", {"train_from_scratch": False, "base_model": str(tmp_path / "base")}
    for part in (model, tokenizer):
        part.save_pretrained(base)
    table = model.get_input_embeddings().weight.detach()

    def rows_after(codes):
        save_index(make_index(codes, texts.index.sizes), base / SID_INDEX)
        _, again, words = start(ready(sid_init="text", **given))
        return again.get_input_embeddings().weight.detach()[sid_vocabulary(words, texts.index).token]

    taught = table[sid_vocabulary(tokenizer, texts.index).token]
    assert torch.equal(rows_after(texts.index.codes), taught)
    assert torch.equal(rows_after(texts.index.codes[:15]), taught)  # five items are new
    assert not torch.equal(rows_after(texts.index.codes[::-1]), taught)  # codes of other items mean nothing here


def test_a_replay_leaves_out_rows_and_items_that_were_learned(ready):
    config = ready(tasks={"sid_to_sid": 1, "title_to_sid": 1}, pack="none", replay=0.25)
    texts, _, tokenizer = start(config)
    shop = small_shop()
    train = shop.splits["train"]
    with pytest.raises(ConfigError, match=r"sft.replay 0.25 chooses among rows .* come from no update"):
        make_task_dataset(shop, texts, tokenizer, config.sft, 0)
    learned = np.arange(len(train)) < len(train) // 2
    updated = Updated(learned, 16, shop.splits["test"])
    rows = make_task_dataset(replace(shop, updated=updated), texts, tokenizer, config.sft, 0)
    again = np.random.default_rng(0).choice(np.unique(train.user[learned]), round(0.25 * 30), replace=False)
    replayed = (learned & np.isin(train.user, again)).sum()
    assert 0 < replayed < learned.sum() and len(rows) == (~learned).sum() + replayed + 4 + 4


def test_the_loss_normalises_over_what_the_catalogue_allows_or_over_all(ready):
    texts, model, tokenizer = start(ready())
    sids = sid_vocabulary(tokenizer, texts.index)
    assert find_legal_tokens(texts, model, sids, ready(normalization="vocab").sft) is None
    trie = ready().sft.model_copy(update={"normalization": "trie"})
    legal = find_legal_tokens(texts, model, sids, trie)
    first = legal(sids.level(0)[:1])  # (1, V) in the place of an item's first token
    assert first.sum().item() == texts.index.sizes[0] and first[0, sids.level(0)].all()


def test_texts_about_users_are_read_where_a_task_asks_and_must_precede_a_target(ready, tmp_path):
    store, data = RunStore.of(ready()), small_shop()
    assert read_preferences(store, data, ready().sft) is None
    path, user = tmp_path / "preferences.json", str(data.sequences.user_id[0])
    path.write_text(json.dumps({user: "Likes rings."}))  # knows all of the user's training events
    path.with_name(MADE_OF).write_text(json.dumps({"data_artifact": store.manifest("data").fingerprint}))
    asking = ready(tasks={"preference_to_sid": 1}, preferences=str(path)).sft
    with pytest.raises(ArtifactError, match="has no text that a train target may follow"):
        read_preferences(store, data, asking)
    path.with_name(SNAPSHOTS).write_text(json.dumps({user: {"1": "Liked one ring."}}))
    preferences = read_preferences(store, data, asking)
    assert sorted(preferences.text.tolist()) == ["Liked one ring.", "Likes rings."]
