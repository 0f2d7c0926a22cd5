"""Packed rows ask exactly what plain rows ask: same prompts, same answers, same loss."""

import copy
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from genrec.data.catalog import Catalog
from genrec.data.given_texts import Preferences, read_training_preferences
from genrec.data.prepared import Prepared
from genrec.data.sequences import Sequences, Split, cut_examples
from genrec.data.tasks import RECOMMEND, TASKS, Texts, make_texts
from genrec.errors import ArtifactError, ConfigError
from genrec.models.language import (
    add_dropout,
    make_scratch,
    set_rows_from_codebooks,
    sid_vocabulary,
    teach_sids,
    train_tokenizer,
)
from genrec.models.token_tree import answer_logits, collate_trees
from genrec.sids import make_index
from genrec.training.rows import RowBuilder, make_rows, packed_rows, to_dataset
from genrec.training.supervised import TreeTrainer, micro_batch, training_arguments
from tests import parse_flags
from tests.task_rows import task_rows

NUM_ITEMS = 12


@pytest.fixture(scope="module")
def texts():
    names = np.array([f"Brass valve number {item}" for item in range(NUM_ITEMS)], dtype=object)
    described = np.array(
        ["" if item % 3 else f"A valve of brass, {item} mm." for item in range(NUM_ITEMS)], dtype=object
    )
    catalog = Catalog(names, names, described, names, names)
    codes = np.stack(np.unravel_index(np.arange(NUM_ITEMS), (3, 2, 2)), axis=1)
    return Texts(catalog, make_index(codes, (3, 2, 2)), "toy")


@pytest.fixture(scope="module")
def tokenizer(texts):
    prompts = [texts.prompt(task, np.zeros(0, int)).text for task in TASKS.values()]
    tokenizer = train_tokenizer([*texts.catalog.title.tolist(), *prompts], 400)
    tokenizer.add_tokens(texts.index.tokens())
    return tokenizer


@pytest.fixture(scope="module")
def model(texts, tokenizer):
    torch.manual_seed(0)
    shape = parse_flags(["--sft.scratch.hidden_size", "32", "--sft.scratch.dropout", "0"]).config.sft.scratch
    model = make_scratch(shape, tokenizer, 512).eval()
    teach_sids(model, tokenizer, texts.index, None)
    return model


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


def rows_of(config, builder, sequences, train, weight):
    return make_rows(builder, sequences, train, weight, config.data.max_history, config.sft, config.run.seed)


def alike(sequences):
    """All targets of weight 1."""
    return np.ones(len(sequences.item))


def asked(trees, rows):
    """Multiset of (ids the answer is read from, answer) over all answers of all trees, by following visible tokens."""
    found = []
    for tree in trees:
        end = np.array(tree.end)
        for start in range(0, len(tree.labels), 3):  # SIDs of three tokens
            source = tree.predictor[start]
            ancestors = [place for place in range(source + 1) if source < end[place]]
            found.append((tuple(tree.ids[place] for place in ancestors), tuple(tree.labels[start : start + 3])))
    assert len(found) == rows
    return sorted(found)


@pytest.mark.parametrize("name", ["sid_to_sid", "title_history_to_sid"])
@pytest.mark.parametrize("cap", [4, 50])
def test_exact_packing_asks_what_plain_rows_ask(texts, tokenizer, sequences, name, cap):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    cut = cut_examples(events, train, cap)
    rng = np.random.default_rng(0)
    plain = [
        builder.row(TASKS[name], items, target) for items, target in task_rows(TASKS[name], 1, cut, texts.catalog, rng)
    ]
    packed = list(packed_rows(builder, TASKS[name], events, train, alike(events), cap, "exact"))
    assert len(packed) < len(plain)
    assert asked(packed, len(train)) == asked(plain, len(train))


def test_windows_show_between_half_and_all_of_the_history(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    head = len(builder.encoder.piece(texts.prompt(RECOMMEND, np.zeros(0, int)).head))
    exact = asked(packed_rows(builder, RECOMMEND, events, train, alike(events), 50, "exact"), len(train))
    windows = asked(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows"), len(train))
    full = {(ids[head:], answer) for ids, answer in exact}
    for ids, answer in windows:
        history = ids[head:]
        assert any(whole[-len(history) :] == history and answer == said for whole, said in full)
        assert 1 <= len(history) // 3 <= 4
    assert sum(len(ids) - head >= 6 for ids, _ in windows) >= len(train) - 5  # half of 4, but for the first of a user


def test_packed_loss_and_gradients_equal_plain_rows(texts, tokenizer, model, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    rows = task_rows(RECOMMEND, 1, cut_examples(events, train, 50), texts.catalog, np.random.default_rng(0))
    plain = [builder.row(RECOMMEND, items, target) for items, target in rows]
    packed = list(packed_rows(builder, RECOMMEND, events, train, alike(events), 50, "exact"))

    def loss_and_gradient(trees):
        model.zero_grad()
        logits, labels = answer_logits(model, collate_trees([vars(tree) for tree in trees]))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])

    (expected, gradient), (loss, packed_gradient) = loss_and_gradient(plain), loss_and_gradient(packed)
    assert abs(loss - expected) < 1e-4
    assert (packed_gradient - gradient).norm() / gradient.norm() < 1e-4


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_learns_from_the_mean_over_its_answers(texts, tokenizer, model, sequences, tmp_path, accumulation):
    """Also when its forward passes hold different numbers of answers."""
    events, train = sequences
    trees = list(packed_rows(RowBuilder(tokenizer, texts, 512), RECOMMEND, events, train, alike(events), 50, "exact"))
    with torch.no_grad():
        logits, labels = answer_logits(model, collate_trees([vars(tree) for tree in trees]))
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, learning_rate=0.0, per_device_train_batch_size=3 // accumulation,
        gradient_accumulation_steps=accumulation, use_cpu=True, logging_steps=1, report_to=[], disable_tqdm=True,
        remove_unused_columns=False, save_strategy="no",
    )  # fmt: skip
    assert len(trees) == 3
    rows = to_dataset(iter(trees))
    trainer = TreeTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate_trees, decode=dict)
    trainer.train()
    model.eval()
    assert abs(trainer.state.log_history[0]["loss"] - expected) < 1e-3 * expected


def test_every_task_has_its_prompt_and_answer(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    for name, task in TASKS.items():
        if task.of_preference:
            continue  # they need texts, below
        rows = list(task_rows(task, 1, cut_examples(events, train, 5), texts.catalog, np.random.default_rng(0)))
        items, target = rows[-1]
        tree = builder.row(task, items, target)
        answer = tokenizer.decode(tree.labels)
        assert texts.answer(task, target) in answer, name
        assert answer.endswith(tokenizer.eos_token) == (task.wanted == "title"), name
    described = list(
        task_rows(TASKS["description_to_sid"], 1, cut_examples(events, train, 5), texts.catalog, np.random)
    )
    assert len(described) == 4  # items without a description are not asked about


def test_a_text_about_a_user_stands_before_later_targets_alone(texts, tokenizer, sequences):
    """User b's text knows 2 of its events, c's two know 3 and 10; a has none."""
    events, train = sequences
    says = np.array(["Likes b.", "Early.", "Later."])
    known = Preferences(np.array([1, 2, 2], np.int32), np.array([4, 10, 17]), says)
    builder = RowBuilder(tokenizer, replace(texts, preferences=known), 512)
    with pytest.raises(ConfigError, match="preference_to_sid reads sft.preferences, which is empty"):
        parse_flags(["--sft.tasks", "{preference_to_sid: 1}"])
    config = parse_flags(["--sft.tasks", "{preference_to_sid: 1}", "--sft.preferences", "p.json"]).config
    rows = list(rows_of(config, builder, events, train, alike(events)))
    expected = [
        (f"Input:\n{text}\n### Response:\n", texts.index.text(int(events.item[end])))
        for first, last, text in ((4, 7, says[0]), (10, 17, says[1]), (17, 21, says[2]))
        for end in train.end
        if first <= end < last
    ]
    for row, (asked, answer) in zip(rows, expected, strict=True):
        assert asked in tokenizer.decode(row.ids)
        assert tokenizer.decode(row.labels) == answer
    config.sft.tasks["preference_to_sid"] = 2.0
    assert len(list(rows_of(config, builder, events, train, alike(events)))) == 2 * len(expected)


def test_shares_draw_and_repeat_rows(texts, sequences):
    cut = cut_examples(*sequences, 5)
    for share, expected in ((0, 0), (0.5, 9), (1, 17), (2.5, 42)):
        rows = list(task_rows(RECOMMEND, share, cut, texts.catalog, np.random.default_rng(0)))
        assert abs(len(rows) - expected) <= 1


def test_a_long_history_loses_its_oldest_items_first(texts, tokenizer):
    builder = RowBuilder(tokenizer, texts, 512)
    prompt = texts.prompt(RECOMMEND, np.arange(10))
    fixed = len(builder.encoder.piece(prompt.head))
    ids = builder.encoder.prompt(prompt, fixed + 7)  # room for two SIDs of three tokens
    assert tokenizer.decode(ids[fixed:]) == texts.index.text(8) + texts.index.text(9)


def test_the_sid_of_an_item_is_one_token_a_level(texts, tokenizer):
    for item in range(NUM_ITEMS):
        assert len(tokenizer.encode(texts.index.text(item), add_special_tokens=False)) == texts.index.num_levels
    assert len(set(sid_vocabulary(tokenizer, texts.index).token.tolist())) == 7


def test_new_rows_from_titles_leave_old_rows_alone(texts):
    prompts = [texts.prompt(RECOMMEND, np.zeros(0, int)).text]
    tokenizer = train_tokenizer([*texts.catalog.title.tolist(), *prompts], 400)
    torch.manual_seed(0)
    model = make_scratch(parse_flags(["--sft.scratch.hidden_size", "32"]).config.sft.scratch, tokenizer, 64)
    before = model.get_input_embeddings().weight.detach().clone()
    assert teach_sids(model, tokenizer, texts.index, texts.catalog.title.tolist()) == 7
    table = model.get_input_embeddings().weight.detach()
    assert torch.equal(table[: len(before)], before)
    items = np.flatnonzero(texts.index.codes[:, 0] == 1)
    mean = torch.stack([before[tokenizer.encode(texts.catalog.title[item])].mean(0) for item in items]).mean(0)
    torch.testing.assert_close(table[tokenizer.convert_tokens_to_ids("<a_1>")], mean)


@pytest.mark.parametrize("share", [0.25, 1, 2])
def test_every_packing_asks_for_the_same_share(texts, tokenizer, sequences, share):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    counts = {}
    for pack in ("none", "exact", "windows"):
        config = parse_flags(["--sft.pack", pack, "--sft.tasks", f"{{sid_to_sid: {share}}}"]).config
        counts[pack] = sum(len(tree.labels) for tree in rows_of(config, builder, events, train, alike(events)))
    assert set(counts.values()) == {3 * round(len(train) * share)}


# Weights of targets


@pytest.mark.parametrize("pack", ["none", "exact", "windows"])
def test_every_answer_carries_the_weight_of_its_event(texts, tokenizer, sequences, pack):
    events, train = sequences
    events = replace(events, item=(np.arange(21) % NUM_ITEMS).astype(np.int32))
    weight = 1.0 + events.item  # known by the answer
    builder = RowBuilder(tokenizer, texts, 512)
    config = parse_flags(["--sft.pack", pack, "--sft.tasks", "{sid_to_sid: 1, title_to_sid: 1}"]).config
    config.data.max_history = 4
    found = []
    for tree in rows_of(config, builder, events, train, weight):
        answers = [tokenizer.decode(tree.labels[at : at + 3]) for at in range(0, len(tree.labels), 3)]
        found += list(zip(answers, tree.weight[::3], strict=True))
        assert len(tree.weight) == len(tree.labels)
    wanted = [(texts.index.text(item), 1.0 + item) for item in events.item[train.end]]
    wanted += [(texts.index.text(item), 1.0) for item in range(NUM_ITEMS)]
    assert sorted(found) == sorted(wanted)


def test_a_weight_of_two_is_the_row_twice(texts, tokenizer, model, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    rows = list(task_rows(RECOMMEND, 1, cut_examples(events, train, 50), texts.catalog, np.random.default_rng(0)))[:4]

    def loss(trees, count):
        trainer = TreeTrainer.__new__(TreeTrainer)
        trainer.args, trainer.accelerator = SimpleNamespace(label_smoothing_factor=0.0), OneProcess()
        trainer.legal, trainer.rdrop = None, 0.0
        return trainer.compute_loss(
            model, collate_trees([vars(tree) for tree in trees]), num_items_in_batch=count
        ).item()

    twice = loss([builder.row(RECOMMEND, *row) for row in [*rows, rows[1]]], 15)
    weighted = loss([builder.row(RECOMMEND, *row, 1.0 + (n == 1)) for n, row in enumerate(rows)], 15)
    assert weighted == pytest.approx(twice, rel=1e-5)
    assert weighted != pytest.approx(loss([builder.row(RECOMMEND, *row) for row in rows], 15), rel=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_rdrop_wants_passes_that_differ(texts, tokenizer, model, sequences, dropout):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    row = builder.row(
        RECOMMEND,
        *next(iter(task_rows(RECOMMEND, 1, cut_examples(events, train, 50), texts.catalog, np.random.default_rng(0)))),
    )
    dropped = torch.nn.functional.dropout
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, read: dropped(read, dropout))
    trainer = TreeTrainer.__new__(TreeTrainer)
    trainer.args, trainer.accelerator = SimpleNamespace(label_smoothing_factor=0.0), OneProcess()
    trainer.legal, trainer.rdrop, trainer.state = None, 1.0, SimpleNamespace(global_step=0)
    try:
        if dropout:
            assert trainer.compute_loss(model, collate_trees([vars(row)])).item() > 0
        else:
            with pytest.raises(ArtifactError, match=r"sft\.rdrop 1\.0 .* the model has none"):
                trainer.compute_loss(model, collate_trees([vars(row)]))
    finally:
        hook.remove()


class OneProcess:
    num_processes = 1

    @staticmethod
    def unwrap_model(model):
        return model


# The profile


@pytest.fixture(scope="module")
def with_profile(texts, sequences):
    kinds = np.array([f"Shop,{('Valves', 'Taps', '')[item % 3]}" for item in range(NUM_ITEMS)], dtype=object)
    brands = np.array([f"Brand{item % 2}" for item in range(NUM_ITEMS)], dtype=object)
    events, train = sequences
    data = Prepared(replace(texts.catalog, categories=kinds, brand=brands), events, {"train": train}, 10)
    return make_texts(data, texts.index, "toy", ["taste", "companions"])


def test_the_profile_stands_behind_the_history_it_is_made_of(with_profile, texts):
    items = np.array([-1, 0, 1, 3, 5])  # Valves Taps Valves -, brands 0 1 1 1
    told = "".join(texts.index.text(item) for item in with_profile.profile.companions(items, 0))
    assert told
    expected = f"\nMostly bought: Valves, Brand1\nOthers bought with these: {told}\n### Response:\n"
    assert with_profile.prompt(RECOMMEND, items, 0).text.endswith(texts.index.text(5) + expected)
    assert with_profile.prompt(RECOMMEND, np.array([-1])).tail == "\n### Response:\n"
    assert with_profile.prompt(TASKS["title_to_sid"], np.array([3])).tail == "\n### Response:\n"
    assert texts.prompt(RECOMMEND, np.array([0, 1])).tail == ""


@pytest.mark.parametrize("cutoff", [512, 130])
@pytest.mark.parametrize("cap", [4, 50])
def test_packed_rows_with_a_profile_ask_what_plain_rows_and_evaluation_ask(
    with_profile, tokenizer, sequences, cap, cutoff
):
    events, train = sequences
    builder = RowBuilder(tokenizer, with_profile, cutoff)
    cut = cut_examples(events, train, cap)
    config = parse_flags(["--sft.pack", "none", "--sft.tasks", "{sid_to_sid: 1}"]).config
    config.data.max_history = cap
    plain = list(rows_of(config, builder, events, train, alike(events)))
    packed = list(packed_rows(builder, RECOMMEND, events, train, alike(events), cap, "exact"))
    assert asked(packed, len(train)) == asked(plain, len(train))
    assert len(packed) < len(plain)
    prompts = [with_profile.prompt(RECOMMEND, *row) for row in zip(cut.history, cut.user.tolist(), strict=True)]
    assert len({prompt.tail for prompt in prompts}) > 3
    asks = {tuple(builder.encoder.prompt(prompt, cutoff - 3)) for prompt in prompts}
    assert {ids for ids, _ in asked(packed, len(train))} == asks


def test_dropout_of_a_model_from_scratch_is_on_in_training_alone(texts, tokenizer):
    flags = ["hidden_size", "32", "dropout", "0", "embedding_dropout", "0.5", "hidden_dropout", "0.5"]
    named = [f"--sft.scratch.{word}" if place % 2 == 0 else word for place, word in enumerate(flags)]
    shape = parse_flags(named).config.sft.scratch
    dropped = make_scratch(shape, tokenizer, 64)
    plain = copy.deepcopy(dropped).train()
    add_dropout(dropped, shape)
    ids = torch.arange(20)[None]
    assert torch.equal(dropped.eval()(ids).logits, plain(ids).logits)
    assert not torch.equal(dropped.train()(ids).logits, plain(ids).logits)
    assert dropped.state_dict().keys() == plain.state_dict().keys()


def test_sid_rows_begin_as_their_codebooks_do(texts, tokenizer, model):
    model, rng = copy.deepcopy(model), np.random.default_rng(0)
    books = [rng.normal(size=(size, 8)).astype(np.float32) for size in texts.index.sizes]  # narrower than the model
    before, sids = model.get_input_embeddings().weight.detach().clone(), sid_vocabulary(tokenizer, texts.index)
    set_rows_from_codebooks(model, sids, books)
    table = model.get_input_embeddings().weight.detach()
    centred = [torch.from_numpy(book - book.mean(0) * (level == 0)) for level, book in enumerate(books)]
    for one, other in itertools.combinations(range(len(books)), 2):  # angles are those of the codebooks
        cosine = torch.nn.functional.cosine_similarity
        expected = cosine(centred[one][:, None], centred[other][None], dim=-1)
        found = cosine(table[sids.level(one)][:, None], table[sids.level(other)][None], dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(table[sids.token].norm(dim=-1), before.norm(dim=-1).mean().expand(len(sids.token)))
    text = torch.ones(len(table), dtype=torch.bool)
    text[sids.token] = False
    assert torch.equal(table[text], before[text])


# Texts about users


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


def test_a_history_and_a_text_ask_for_the_sid_and_a_history_for_the_text(texts, tokenizer, sequences):
    events, train = sequences
    told = Preferences(np.array([1, 1], np.int32), np.array([4, 6]), np.array(["likes brass", "likes valves"]))
    flags = ["--sft.tasks", "{sid_and_preference_to_sid: 1, sid_to_preference: 1}", "--sft.preferences", "x.json"]
    builder = RowBuilder(tokenizer, replace(texts, preferences=told), 512)
    rows = list(rows_of(parse_flags(flags).config, builder, events, train, alike(events)))
    asked = train.end[(train.user == 1) & (train.end >= 4)].tolist()
    assert len(rows) == 2 * len(asked) == 6
    for row, end in zip(rows[:3], asked, strict=True):
        prompt, said = tokenizer.decode(row.ids), "likes brass" if end < 6 else "likes valves"
        assert tokenizer.decode(row.labels) == texts.index.text(events.item[end])
        assert f"{texts.index.text(events.item[end - 1])}\nThe user: {said}\n### Response" in prompt
    answers = [tokenizer.decode(row.labels) for row in rows[3:]]
    assert answers == [text + tokenizer.eos_token for text in ["likes brass", "likes brass", "likes valves"]]


def test_passes_that_cannot_fill_a_step_are_refused(monkeypatch):
    def rows_a_pass(processes, micro):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        return micro_batch(parse_flags(["--sft.batch_size", "24", "--sft.micro_batch_size", str(micro)]).config.sft)

    assert [rows_a_pass(*launch) for launch in ((1, 8), (3, 8), (2, 4), (4, 12))] == [8, 8, 4, 6]
    for processes, micro in ((2, 8), (5, 4)):
        told = rf"sft.batch_size 24 over {processes} process.* not a multiple of {micro} rows a pass"
        with pytest.raises(ArtifactError, match=told):
            rows_a_pass(processes, micro)


def test_the_plan_knows_how_many_steps_were_asked_for(tmp_path):
    flags = ["--sft.trainer.max_steps", "100", "--sft.warmup_ratio", "0.1", "--sft.eval_step", "0.25"]
    config = parse_flags([*flags, "--run.device", "cpu"]).config
    arguments = training_arguments(config.sft, config.run, tmp_path, 100_000)
    assert (arguments.warmup_steps, arguments.eval_steps) == (10, 25)


def test_a_row_without_room_for_an_item_is_refused(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 16)
    with pytest.raises(ArtifactError, match=r"sft.cutoff_len 16 leaves no room for one item beside the \d+ tokens"):
        list(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows"))
