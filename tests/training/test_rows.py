"""Packed rows ask exactly what plain rows ask: same prompts, same answers, same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.data.given_texts import Preferences
from genrec.data.prepared import Prepared
from genrec.data.sequences import cut_examples
from genrec.data.tasks import RECOMMEND, TASKS, make_texts
from genrec.data.thinning import add_thinned
from genrec.errors import ArtifactError, ConfigError
from genrec.models.token_tree import answer_logits, collate_trees
from genrec.training.rows import RowBuilder, make_rows, packed_rows
from tests import parse_flags
from tests.task_rows import task_rows
from tests.training.small_rows import NUM_ITEMS, alike, asked, rows_of


@pytest.fixture(scope="module")
def with_profile(texts, sequences):
    kinds = np.array([f"Shop,{('Valves', 'Taps', '')[item % 3]}" for item in range(NUM_ITEMS)], dtype=object)
    brands = np.array([f"Brand{item % 2}" for item in range(NUM_ITEMS)], dtype=object)
    events, train = sequences
    data = Prepared(replace(texts.catalog, categories=kinds, brand=brands), events, {"train": train}, 10)
    return make_texts(data, texts.index, "toy", ["taste", "companions"])


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
    head = len(builder.prompts.encoder.piece(texts.prompt(RECOMMEND, np.zeros(0, int)).head))
    exact = asked(packed_rows(builder, RECOMMEND, events, train, alike(events), 50, "exact"), len(train))
    windows = asked(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows"), len(train))
    full = {(ids[head:], answer) for ids, answer in exact}
    for ids, answer in windows:
        history = ids[head:]
        assert any(whole[-len(history) :] == history and answer == said for whole, said in full)
        assert 1 <= len(history) // 3 <= 4
    assert sum(len(ids) - head >= 6 for ids, _ in windows) >= len(train) - 5  # half of 4, but for the first of a user


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_ask_each_target_once_with_the_history_that_the_overlap_leaves(texts, tokenizer, sequences, overlap):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    head = len(builder.prompts.encoder.piece(texts.prompt(RECOMMEND, np.zeros(0, int)).head))
    exact = asked(packed_rows(builder, RECOMMEND, events, train, alike(events), 50, "exact"), len(train))
    trees = list(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows", overlap))
    windows = asked(trees, len(train))
    assert sorted(answer for _, answer in windows) == sorted(answer for _, answer in exact)
    length = {(ids[head:], answer): len(ids) - head for ids, answer in exact}
    least = {0.0: 1, 0.25: 2, 0.5: 3, 0.9: 4}[overlap]  # items before the first target of a window
    for ids, answer in windows:
        history = ids[head:]
        (whole,) = {length[full] for full in length if full[1] == answer and full[0][-len(history) :] == history}
        assert len(history) // 3 >= min(least, whole // 3)


def test_copies_ask_what_sequences_of_their_own_would_ask(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    thinned = add_thinned(events, train, alike(events), 2, 0.3, 0)
    flags = ["--sft.tasks", "{sid_to_sid: 1}", "--sft.pack", "windows", "--sft.overlap", "0"]
    config = parse_flags([*flags, "--sft.thinned_copies", "2"]).config
    config.data.max_history = 4
    rest = alike(events), 4, config.sft, 0, None, thinned
    both = list(make_rows(builder, events, train, *rest))
    plain = list(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows", 0))
    copies = thinned.copies(len(events))
    own = packed_rows(builder, RECOMMEND, thinned.sequences, copies, thinned.weight, 4, "windows", 0)
    assert len(copies) > len(train) and asked(both, len(train) + len(copies)) == asked(
        [*plain, *own], len(train) + len(copies)
    )
    event = [number for tree in both for number in tree.event[::3]]
    assert sorted(event) == sorted(thinned.train.end.tolist())


def test_windows_that_overlap_less_read_fewer_tokens(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)

    def read(overlap):
        trees = packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows", overlap)
        return sum(len(tree.ids) for tree in trees)

    assert read(0.0) < read(0.5) < read(0.9)


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
    for row, (prompt, answer) in zip(rows, expected, strict=True):
        assert prompt in tokenizer.decode(row.ids)
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
    fixed = len(builder.prompts.encoder.piece(prompt.head))
    ids = builder.prompts.encoder.prompt(prompt, fixed + 7)  # room for two SIDs of three tokens
    assert tokenizer.decode(ids[fixed:]) == texts.index.text(8) + texts.index.text(9)


@pytest.mark.parametrize("share", [0.25, 1, 2])
def test_every_packing_asks_for_the_same_share(texts, tokenizer, sequences, share):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    counts = {}
    for pack in ("none", "exact", "windows"):
        config = parse_flags(["--sft.pack", pack, "--sft.tasks", f"{{sid_to_sid: {share}}}"]).config
        counts[pack] = sum(len(tree.labels) for tree in rows_of(config, builder, events, train, alike(events)))
    assert set(counts.values()) == {3 * round(len(train) * share)}


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
    asks = {tuple(builder.prompts.encoder.prompt(prompt, cutoff - 3)) for prompt in prompts}
    assert {ids for ids, _ in asked(packed, len(train))} == asks


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


def test_a_row_without_room_for_an_item_is_refused(texts, tokenizer, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 16)
    with pytest.raises(ArtifactError, match=r"sft.cutoff_len 16 leaves no room for one item beside the \d+ tokens"):
        list(packed_rows(builder, RECOMMEND, events, train, alike(events), 4, "windows"))
