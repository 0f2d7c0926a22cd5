"""Targets softened by a teacher, against values by hand and against loops over items, in every packing of rows."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from genrec.data.sequences import Examples, cut_examples
from genrec.data.thinning import add_thinned
from genrec.models.beam import SidVocabulary
from genrec.models.language import sid_vocabulary
from genrec.models.teachers import list_prefixes
from genrec.models.token_tree import IGNORE, answer_logits
from genrec.models.trie import build_trie
from genrec.sids import make_index
from genrec.training.answer_loss import answer_loss, make_legal
from genrec.training.rows import Collator, RowBuilder, to_dataset
from genrec.training.soft_targets import find_paths, make_soft_targets, map_nameless, soften_paths
from genrec.training.supervised import TreeTrainer
from tests import parse_flags
from tests.training.killed import KilledAfter
from tests.training.small_rows import NUM_ITEMS, alike, rows_of

CODES = np.array([[0, 0], [0, 2], [1, 1]])  # three items, levels of 2 and 3 codes
SIDS = SidVocabulary(torch.tensor([4, 5, 6, 7, 8]), (0, 2), (2, 3))  # after four text tokens
TABLE = np.random.default_rng(0).normal(size=(NUM_ITEMS + 1, NUM_ITEMS)) * 2
TABLE[-1] = 0  # of no item


def teach(examples):
    """A teacher that listens to the whole history."""
    power = np.exp(TABLE[examples.history].sum(axis=1))
    if examples.excluded is not None:
        power[examples.excluded.pairs()] = 0
    return power / np.maximum(power.sum(axis=1, keepdims=True), 1e-300)


def test_targets_by_hand():
    trie = build_trie(make_index(CODES, (2, 3)))
    paths = find_paths(trie, SIDS)
    probability = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    softened = soften_paths(probability, np.array([1, 2, 1]), trie, paths)
    of_second, of_third = [0.5, 0.5, 0.4, 0.6], [0.5, 0.5, 1.0]
    says_nothing_below = [0.0, 1.0, 0.0, 1.0]  # the true item keeps its node
    assert softened == pytest.approx([*of_second, *of_third, *says_nothing_below])
    assert paths.length.tolist() == [4, 4, 3]


def test_items_that_share_a_sid_share_its_mass():
    index = make_index(np.array([[0, 0], [0, 0], [0, 1]]), (1, 2), allow_collisions=True)
    trie = build_trie(index)
    paths = find_paths(trie, SidVocabulary(torch.tensor([4, 5, 6]), (0, 1), (1, 2)))
    assert soften_paths(np.array([[0.2, 0.3, 0.5]]), np.array([1]), trie, paths) == pytest.approx([1.0, 0.5, 0.5])


@pytest.fixture
def make(texts, tokenizer, model, sequences, tmp_path):
    events, train = sequences

    def soft_targets(weight=0.7, max_history=4):
        size = model.get_input_embeddings().num_embeddings
        of_model = (build_trie(texts.index), sid_vocabulary(tokenizer, texts.index), size)
        return make_soft_targets(teach, weight, events, train, max_history, *of_model, tmp_path)

    return soft_targets


def batch_of(texts, tokenizer, sequences, pack, *flags):
    """All rows of all tasks as one collated batch, heads joined."""
    events, train = sequences
    config = parse_flags(["--sft.pack", pack, "--sft.tasks", "{sid_to_sid: 1, title_to_sid: 1}", *flags]).config
    config.data.max_history = 4
    trees = rows_of(config, RowBuilder(tokenizer, texts, 512), events, train, alike(events))
    return Collator(256)([vars(tree) for tree in trees])


def loop_losses(texts, tokenizer, sequences, logits, labels, event, legal, weight, smoothing):
    """The loss of each answer token from its definition, item by item."""
    events, train = sequences
    cut = cut_examples(events, train, 4)
    said = dict(zip(train.end.tolist(), teach(cut), strict=True))
    codes, tokens = texts.index.codes, [tokenizer.convert_tokens_to_ids(texts.index.item_tokens(i)) for i in range(12)]
    losses = []
    for at in range(len(labels)):
        level, row = at % 3, logits[at].double()
        allowed = legal[at].nonzero()[:, 0] if legal is not None else torch.arange(len(row))
        logp = torch.full_like(row, -1e9)
        logp[allowed] = row[allowed].log_softmax(-1)
        target = torch.zeros_like(row)
        target[labels[at]] = 1
        if event[at] >= 0:
            item = events.item[event[at]]
            below = [i for i in range(12) if (codes[i, :level] == codes[item, :level]).all()]
            mass = torch.zeros_like(row)
            for i in below:
                mass[tokens[i][level]] += said[int(event[at])][i]
            if mass.sum() > 1e-12:
                target = (1 - weight) * target + weight * mass / mass.sum()
        target = (1 - smoothing) * target
        target[allowed] += smoothing / len(allowed)
        losses.append(-(target[allowed] * logp[allowed]).sum())
    return torch.stack(losses)


@pytest.mark.parametrize("pack", ["none", "exact", "windows"])
@pytest.mark.parametrize(("normalization", "smoothing"), [("trie", 0.0), ("vocab", 0.1)])
def test_packed_rows_have_the_losses_of_the_definition(
    texts, tokenizer, model, sequences, make, pack, normalization, smoothing
):
    batch = batch_of(texts, tokenizer, sequences, pack)
    with torch.no_grad():
        logits, labels = answer_logits(model, batch)
    event = batch["event"][batch["labels"] != IGNORE]
    assert (event >= 0).sum() == 3 * len(sequences[1]) and (event < 0).sum() == 3 * NUM_ITEMS  # titles are no events
    legal = None
    if normalization == "trie":
        legal = make_legal(build_trie(texts.index), sid_vocabulary(tokenizer, texts.index), logits.shape[1])(labels)
    soft = make()(labels, event)
    found = answer_loss(logits, labels, legal, smoothing, soft)
    expected = loop_losses(texts, tokenizer, sequences, logits, labels, event, legal, 0.7, smoothing)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    assert (found - answer_loss(logits, labels, legal, smoothing)).abs().max() > 0.1


class InWindows:
    """`teach`, and of windows the same of each prefix."""

    def __call__(self, examples):
        return teach(examples)

    def of_windows(self, item, user):
        return teach(list_prefixes(item, user)).reshape(*item.shape, -1)


def test_targets_of_thinned_copies_are_what_the_teacher_says_of_their_windows(
    texts, tokenizer, model, sequences, tmp_path
):
    events, train = sequences
    thinned = add_thinned(events, train, alike(events), 2, 0.3, 0)
    trie, sids = build_trie(texts.index), sid_vocabulary(tokenizer, texts.index)
    size = model.get_input_embeddings().num_embeddings
    soft = make_soft_targets(InWindows(), 0.7, events, train, 4, trie, sids, size, tmp_path, thinned)
    paths, item, offset = soft.paths, thinned.sequences.item, thinned.sequences.offset
    assert len(thinned.train) > 2 * len(train)
    for user, end in zip(thinned.train.user, thinned.train.end, strict=True):
        begin = offset[user] + (end - 1 - offset[user]) // 4 * 4  # of the window whose item before it is read
        history = np.full((1, 4), -1)
        history[0, 4 - (end - begin) :] = item[begin:end]
        said = teach(Examples(np.zeros(1, int), history, item[[end]]))
        stored = soft.probability[soft.begin[end] : soft.begin[end] + paths.length[item[end]]]
        assert stored == pytest.approx(soften_paths(said, item[[end]], trie, paths), abs=1e-6)


def test_rows_on_one_trunk_lose_what_plain_rows_lose(texts, tokenizer, model, sequences, make):
    def losses(pack):
        batch = batch_of(texts, tokenizer, sequences, pack)
        with torch.no_grad():
            logits, labels = answer_logits(model, batch)
        event = batch["event"][batch["labels"] != IGNORE]
        loss = answer_loss(logits, labels, None, 0.0, make()(labels, event))
        return sorted(zip(event.tolist(), labels.tolist(), loss.tolist(), strict=True))

    for one, other in zip(losses("exact"), losses("none"), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_a_teacher_without_weight_leaves_hard_targets(texts, tokenizer, model, sequences, make, normalization):
    batch = batch_of(texts, tokenizer, sequences, "windows")
    with torch.no_grad():
        logits, labels = answer_logits(model, batch)
    soft = make(weight=0.0)(labels, batch["event"][batch["labels"] != IGNORE])
    legal = None
    if normalization == "trie":
        legal = make_legal(build_trie(texts.index), sid_vocabulary(tokenizer, texts.index), logits.shape[1])(labels)
    same = answer_loss(logits, labels, legal, 0.1, soft), answer_loss(logits, labels, legal, 0.1)
    if normalization == "trie":
        assert torch.equal(*same)
    torch.testing.assert_close(*same)


def train(model, rows, directory, soften, resume=None, killed_at=None, **knobs):
    """The weights after four steps."""
    own = copy.deepcopy(model)
    arguments = TrainingArguments(
        str(directory), max_steps=4, learning_rate=1e-2, per_device_train_batch_size=2, save_steps=2, use_cpu=True,
        report_to=[], disable_tqdm=True, remove_unused_columns=False, seed=1,
    )  # fmt: skip
    trainer = TreeTrainer(
        model=own, args=arguments, train_dataset=rows, data_collator=Collator(256), decode=dict, soften=soften,
        callbacks=[KilledAfter(killed_at)] if killed_at else [], **knobs,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return {name: value.clone() for name, value in own.state_dict().items()}


@pytest.fixture
def rows(texts, tokenizer, sequences):
    events, split = sequences
    config = parse_flags(["--sft.pack", "none", "--sft.tasks", "{sid_to_sid: 1, title_to_sid: 1}"]).config
    return to_dataset(rows_of(config, RowBuilder(tokenizer, texts, 512), events, split, alike(events)))


def test_a_run_killed_between_steps_ends_in_the_same_weights(model, rows, make, tmp_path):
    whole = train(model, rows, tmp_path / "a", make())
    with pytest.raises(KeyboardInterrupt):
        train(model, rows, tmp_path / "b", make(), killed_at=2)
    again = train(model, rows, tmp_path / "b", make(), resume=str(tmp_path / "b/checkpoint-2"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    hard = train(model, rows, tmp_path / "c", None)
    assert not all(torch.equal(whole[name], hard[name]) for name in whole)


def test_both_passes_of_rdrop_have_soft_targets(model, rows, make):
    """Of equal logits the divergence is 0, so the loss is that of one pass."""
    trainer = TreeTrainer.__new__(TreeTrainer)
    trainer.args = SimpleNamespace(label_smoothing_factor=0.0)
    trainer.accelerator = SimpleNamespace(num_processes=1, unwrap_model=lambda model: model)
    trainer.state, trainer.legal, trainer.soften = SimpleNamespace(global_step=1), None, make()
    batch, losses = Collator(256)([rows[row] for row in range(6)]), []
    for trainer.rdrop in (0.0, 1.0):
        losses.append(trainer.compute_loss(model.eval(), batch).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_what_the_teacher_said_is_gone_with_the_process(tmp_path):
    held = map_nameless(tmp_path, 5)
    held[:] = np.arange(5)
    assert held.tolist() == [0, 1, 2, 3, 4] and list(tmp_path.iterdir()) == []
