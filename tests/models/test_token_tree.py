"""Tree rows against the same prompts and answers as plain rows: log-probabilities and gradients."""

import torch
from transformers import BloomConfig, BloomForCausalLM

from genrec.models.token_tree import (
    IGNORE,
    Branch,
    answer_logits,
    collate_trees,
    grow_tree,
    join_trees,
    make_chain,
    takes_trees,
    visible_mask,
)

TRUNK = [3, 1, 4, 1, 5]
BRANCHES = [Branch(2, [7, 8], [20, 21, 22]), Branch(5, [7, 8], [23, 24, 25]), Branch(5, [], [26, 27])]


def as_dict(tree):
    return vars(tree)


def plain_logprobs(model, trunk, branches):
    """Log-probability of every answer token, one plain row a branch."""
    found = []
    for branch in sorted(branches, key=lambda b: b.after):
        prompt = [*trunk[: branch.after], *branch.tail]
        logits = model(torch.tensor([prompt + branch.answer])).logits[0]
        for place, token in enumerate(branch.answer):
            found.append(logits[len(prompt) - 1 + place].log_softmax(-1)[token])
    return torch.stack(found)


def tree_logprobs(model, trees):
    logits, labels = answer_logits(model, collate_trees([as_dict(tree) for tree in trees]))
    return logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0]


def test_ends_bound_subtrees():
    tree = grow_tree([1, 2, 3], [Branch(1, [9], [5, 6])])
    assert tree.ids == [1, 9, 5, 2, 3][: len(tree.ids)] == [1, 9, 5]  # trunk past the last branch is not needed
    assert tree.position == [0, 1, 2] and tree.end == [3, 3, 3]
    assert tree.predictor == [1, 2] and tree.labels == [5, 6]


def test_branches_do_not_see_one_another():
    tree = grow_tree([1, 2], [Branch(1, [], [5, 6]), Branch(2, [], [7, 8])])
    assert tree.ids == [1, 5, 2, 7] and tree.position == [0, 1, 1, 2]
    seen = visible_mask(torch.tensor([tree.end]))[0, 0].int().tolist()
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


def test_logprobs_and_gradients_equal_plain_rows(model):
    other = grow_tree([9, 2], [Branch(2, [6], [30, 31])])
    plain = torch.cat(
        [plain_logprobs(model, TRUNK, BRANCHES), plain_logprobs(model, [9, 2], [Branch(2, [6], [30, 31])])]
    )
    plain.sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    tree = tree_logprobs(model, [grow_tree(TRUNK, BRANCHES), other])
    tree.sum().backward()
    torch.testing.assert_close(tree, plain, atol=1e-5, rtol=0)
    for name, parameter in model.named_parameters():
        error = (parameter.grad - expected[name]).norm() / expected[name].norm().clamp(min=1e-9)
        assert error < 1e-4, name


def test_padding_is_ignored():
    trees = [grow_tree(TRUNK, BRANCHES), grow_tree([1], [Branch(1, [], [5])])]
    batch = collate_trees([as_dict(tree) for tree in trees])
    assert (batch["labels"][1, 1:] == IGNORE).sum() == len(trees[0].labels) - 1
    mask = visible_mask(batch["end"])[1, 0]
    assert mask.diagonal().all() and not mask[0, 1:].any()  # a pad sees itself, nobody sees a pad


def test_joined_rows_ask_the_same_with_the_head_read_once(model):
    head = [3, 1]
    rows = [
        grow_tree(TRUNK, BRANCHES),
        make_chain([head, [6, 7], [8, 9]], [1, 2], [1.0, 2.0], [3, 4]),
        make_chain([head, [6, 7], [2, 4]], [2], [0.5], [5]),
        grow_tree([9, 2], [Branch(2, [6], [30, 31])]),
    ]
    joined = join_trees(rows, 30)
    assert len(joined) == 2 and sum(len(tree.ids) for tree in joined) == sum(len(tree.ids) for tree in rows) - 2 * 2

    def asked(trees):
        """(label, its weight, log-probability), in an order that does not depend on the rows."""
        labels = [pair for tree in trees for pair in zip(tree.labels, tree.weight, strict=True)]
        return sorted((*pair, logp) for pair, logp in zip(labels, tree_logprobs(model, trees).tolist(), strict=True))

    torch.testing.assert_close(torch.tensor(asked(joined)), torch.tensor(asked(rows)), atol=1e-5, rtol=0)
    assert [tree.ids for tree in join_trees(rows, 5)] == sorted(tree.ids for tree in rows)  # no room: rows stay alone


def test_families_that_read_trees_are_known_by_it(model):
    model.train()
    assert takes_trees(model) and model.training
    model.to(torch.bfloat16)
    assert takes_trees(model)


def test_a_model_that_refuses_or_ignores_the_mask_is_found_out(model, monkeypatch):
    shape = {"vocab_size": 58, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    assert not takes_trees(BloomForCausalLM(BloomConfig(**shape)))
    forward = type(model).forward
    blind = lambda self, *args, attention_mask=None, **kwargs: forward(self, *args, **kwargs)  # noqa: E731
    monkeypatch.setattr(type(model), "forward", blind)
    assert not takes_trees(model)


def test_rows_without_branches_need_no_mask(model):
    rows = [grow_tree([3, 1, 4], [Branch(3, [], [5, 6])]), grow_tree([2], [Branch(1, [7], [8])])]
    plain = collate_trees([as_dict(tree) for tree in rows])
    assert "end" not in plain
    tree = collate_trees([as_dict(tree) for tree in [*rows, grow_tree(TRUNK, BRANCHES)]])
    expected = answer_logits(model, tree)[0][: len(rows[0].labels) + len(rows[1].labels)]
    torch.testing.assert_close(answer_logits(model, plain)[0], expected, atol=1e-5, rtol=0)
