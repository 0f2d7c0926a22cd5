"""The frontier's lists are those of exhaustive scoring, and it says when they are not proven."""

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from genrec.models.beam import NEVER, SidVocabulary
from genrec.models.frontier import Space, frontier_search, promise_leaves
from genrec.models.trie import build_trie, list_items, make_filter
from genrec.sids import NONE, make_index
from tests.models.conftest import CODES, LEVELS, SHAPE, TEXT_TOKENS
from tests.models.test_beam import items


def make_model(spread=0.3, levels=LEVELS):
    """A random model; the larger the spread, the more hostile its scores."""
    torch.manual_seed(0)
    shape = {**SHAPE, "vocab_size": TEXT_TOKENS + CODES * levels, "initializer_range": spread}
    return Qwen2ForCausalLM._from_config(Qwen2Config(**shape), attn_implementation="sdpa").eval()


def make_equal_model(levels):
    """Every token is as likely as any other."""
    model = make_model(levels=levels)
    with torch.no_grad():
        model.model.norm.weight[:] = 0
    return model


def make_sids(levels):
    tokens = torch.arange(TEXT_TOKENS, TEXT_TOKENS + CODES * levels)
    return SidVocabulary(tokens, tuple(CODES * level for level in range(levels)), (CODES,) * levels)


def make_catalogue(levels, size, seed=0):
    space = np.random.default_rng(seed).permutation(CODES**levels)[:size]
    return make_index(np.stack(np.unravel_index(space, (CODES,) * levels), axis=1), (CODES,) * levels)


@torch.no_grad()
def score_every_item(model, index, sids, prompt, normalization, allowed=None):
    """(N,) by plain rows, one an item; -inf where nobody may get it."""
    codes = torch.from_numpy(index.codes.astype(np.int64))
    tokens = torch.stack([sids.level(level)[codes[:, level].clamp(min=0)] for level in range(index.num_levels)], dim=1)
    rows = torch.cat([torch.tensor([prompt]).expand(len(index), -1), tokens[:, :-1]], dim=1)
    logits = model(rows).logits[:, len(prompt) - 1 :].double()  # (N, L, V)
    open_ = torch.ones(len(index), dtype=torch.bool) if allowed is None else torch.from_numpy(allowed)
    score = torch.zeros(len(index), dtype=torch.float64)
    for level in range(index.num_levels):
        here = logits[:, level]
        if normalization == "trie":
            alike = (codes[:, None, :level] == codes[None, :, :level]).all(-1) & open_
            legal = torch.zeros_like(here, dtype=torch.bool)
            legal.scatter_add_(1, tokens[:, level].expand(len(index), -1), alike)
            here = here.masked_fill(~legal, -torch.inf)
        step = here.log_softmax(-1).gather(1, tokens[:, level : level + 1])[:, 0]
        score += torch.where(codes[:, level] == NONE, 0.0, step)
    return torch.where(open_, score, -torch.inf).numpy()


def assert_same(found, trie, index, model, sids, prompts, k, normalization, legal=None, allowed=None):
    """Proven lists, and those of scoring every item; `legal` (B, N) says what a row may get."""
    assert found.exact.all()
    for row, prompt in enumerate(prompts):
        every = score_every_item(model, index, sids, prompt, normalization, allowed)
        every[~np.isfinite(every)] = NEVER
        if legal is not None:
            every[~legal[row]] = NEVER
        best = np.argsort(-every, kind="stable")[:k]
        best = best[every[best] > NEVER / 2]
        here = found.score[row] > NEVER / 2
        assert items(trie, found.leaf[row][here]).tolist() == best.tolist()
        np.testing.assert_allclose(found.score[row][here], every[best], atol=1e-4)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
@pytest.mark.parametrize("levels, size", [(1, 5), (2, 20), (3, 60), (4, 150)])
def test_the_list_is_that_of_scoring_every_item(prompts, normalization, levels, size):
    model, sids, index = make_model(levels=levels), make_sids(levels), make_catalogue(levels, size)
    trie = build_trie(index)
    for width in (1, 3, 32):
        found = frontier_search(model, trie, sids, prompts, 4, normalization, width=width)
        assert_same(found, trie, index, model, sids, prompts, 4, normalization)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0, 3.0])
def test_hostile_scores(prompts, normalization, spread):
    """From nearly equal to all on one path."""
    model, sids, index = make_model(spread), make_sids(LEVELS), make_catalogue(LEVELS, 50)
    trie = build_trie(index)
    found = frontier_search(model, trie, sids, prompts, 7, normalization, width=4)
    assert_same(found, trie, index, model, sids, prompts, 7, normalization)


def test_of_equal_scores_the_lowest_items_are_listed(prompts):
    """All are equal, so all is read: no tie may hide behind a prefix."""
    model, sids, index = make_equal_model(LEVELS), make_sids(LEVELS), make_catalogue(LEVELS, 50)
    trie = build_trie(index)
    found = frontier_search(model, trie, sids, prompts, 7, width=4)
    assert found.exact.all()
    assert items(trie, found.leaf).sort(dim=1).values.tolist() == [list(range(7))] * len(prompts)


def test_fewer_prefixes_are_read_than_there_are(prompts):
    model, sids, index = make_model(1.0, 4), make_sids(4), make_catalogue(4, 600)
    found = frontier_search(model, build_trie(index), sids, prompts, 1, width=2)
    assert found.exact.all() and int(found.reads.max()) < 60


@pytest.mark.parametrize(
    "budget, normalization", [*((size, "vocab") for size in (1, 5, 30, 100)), *((size, "trie") for size in (1, 5, 30))]
)
def test_a_budget_that_bites_leaves_a_bound_that_holds(prompts, budget, normalization):
    """On a flat model the frontier is the whole trie: what is not listed scores at most the bound."""
    model, sids, index = make_model(0.02, 4), make_sids(4), make_catalogue(4, 300)
    trie = build_trie(index)
    found = frontier_search(model, trie, sids, prompts, 5, normalization, budget=budget, width=8)
    assert not found.exact.any()
    assert (found.reads == budget).all()
    for row, prompt in enumerate(prompts):
        every = score_every_item(model, index, sids, prompt, normalization)
        here = found.score[row] > NEVER / 2
        listed = items(trie, found.leaf[row][here])
        np.testing.assert_allclose(found.score[row][here], every[listed], atol=1e-4)
        missed = np.delete(every, listed)
        assert missed[missed > float(found.score[row].min())].max(initial=NEVER) <= float(found.bound[row]) + 1e-4
    if budget >= 30:
        assert (found.score > NEVER / 2).all()  # it goes down before it goes on, so there is a list


def test_requests_that_end_earlier_do_not_change_the_others(prompts):
    model, sids, index = make_model(0.5), make_sids(LEVELS), make_catalogue(LEVELS, 120)
    trie = build_trie(index)
    together = frontier_search(model, trie, sids, prompts, 5, width=2)
    assert len(set(together.reads.tolist())) > 1
    for row, prompt in enumerate(prompts):
        alone = frontier_search(model, trie, sids, [prompt], 5, width=2)
        assert alone.leaf[0].tolist() == together.leaf[row].tolist()
        torch.testing.assert_close(alone.score[0], together.score[row], atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_allowed_and_denied_items(model, index, sids, prompts, normalization):
    rng = np.random.default_rng(2)
    denied = np.stack([rng.choice(len(index), 6, replace=False) for _ in prompts])
    denied[0, 3:] = -1
    allowed = np.arange(len(index)) % 4 != 0
    legal = allowed & ~(denied[..., None] == np.arange(len(index))).any(1)
    trie = build_trie(index)
    only = make_filter(trie, torch.from_numpy(allowed), torch.from_numpy(denied))
    for k in (4, 40):
        found = frontier_search(model, trie, sids, prompts, k, normalization, only, width=3)
        assert_same(found, trie, index, model, sids, prompts, k, normalization, legal, allowed)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_unequal_depths(model, sids, prompts, normalization):
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, NONE], [1, 2, NONE], [2, 2, 5], [3, NONE, NONE]])
    index = make_index(codes, (CODES,) * LEVELS)
    trie = build_trie(index)
    for k in (2, 10):
        found = frontier_search(model, trie, sids, prompts, k, normalization)
        assert_same(found, trie, index, model, sids, prompts, k, normalization)


def test_leaves_of_several_items_tie_by_the_lowest_that_may_be_listed():
    """All scores equal: the leaves whose first item that is not denied is lowest."""
    codes = np.array([[0, 0], [1, 1], [0, 1], [1, 1], [0, 0], [1, 0]])
    index = make_index(codes, (CODES,) * 2, allow_collisions=True)
    model, trie = make_equal_model(2), build_trie(index)

    def leaves(denied):
        only = make_filter(trie, None, torch.tensor([denied]))
        found = frontier_search(model, trie, make_sids(2), [[1, 2]], 2, "vocab", only)
        assert found.exact.all()
        return {tuple(codes[trie.item[trie.under[-1][leaf]]]) for leaf in found.leaf[0].tolist()}

    assert leaves([-1]) == {(0, 0), (1, 1)}  # first items 0, 1; then 2, 5
    assert leaves([0]) == {(1, 1), (0, 1)}  # 1, 2; then 4, 5
    assert leaves([0, 1]) == {(0, 1), (1, 1)}  # 2, 3; then 4, 5
    assert leaves([0, 1, 3]) == {(0, 1), (0, 0)}  # 2, 4; then 5


def test_scores_that_are_no_numbers_are_no_proof(prompts, index, sids):
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight[:] = torch.nan
    found = frontier_search(model, build_trie(index), sids, prompts, 4)
    assert not found.exact.any() and found.bound.isnan().all()


@pytest.mark.parametrize("places", [0, 3])
@pytest.mark.parametrize("depth", [1, 2])
def test_what_nodes_promise_is_reached(depth, places):
    """A node's probability is shared out among its leaves, so k listed ones reach what k nodes promise."""
    index, rng = make_catalogue(LEVELS, 60), np.random.default_rng(depth)
    trie = build_trie(index)
    share = torch.from_numpy(rng.dirichlet(np.full(len(index), 0.5), size=20)).float()  # (20, leaves)
    denied = torch.from_numpy(np.stack([rng.choice(len(index), places, replace=False) for _ in range(20)]))
    start, stop = trie.leaves[depth][:-1], trie.leaves[depth][1:]
    mass = torch.stack([share[:, a:b].sum(1) for a, b in zip(start, stop, strict=True)], dim=1)  # (20, nodes)
    only = make_filter(trie, None, denied) if places else None
    listed = share.clone()
    if places:
        listed.scatter_(1, trie.place[denied], 0)
    for k in (1, 2):
        space = Space(make_model(), trie, make_sids(LEVELS), "trie", only, k)
        promised = promise_leaves(space, torch.arange(len(start)).expand(20, -1), mass.log(), depth)
        assert (promised > NEVER / 2).all()
        assert (promised <= listed.topk(k, dim=1).values[:, -1].log()).all()


def test_nothing_is_promised_where_the_probability_is_not_that_of_the_leaves():
    trie, node = build_trie(make_catalogue(2, 20)), torch.arange(4)[None]
    score = torch.full((1, 4), 0.25).log()
    some = make_filter(trie, None, torch.tensor([[1, 2, 3, 4]]))
    listed = list_items(trie, None, torch.arange(20) < 3)
    for normalization, only, k in (("vocab", None, 1), ("trie", some, 1), ("trie", listed, 1), ("trie", None, 5)):
        space = Space(make_model(), trie, make_sids(2), normalization, only, k)
        assert promise_leaves(space, node, score, 1).item() == np.float32(NEVER)
