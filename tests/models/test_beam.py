"""Beam search on a token tree against `model.generate` under a constraint, and against scoring every item."""

import numpy as np
import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, LogitsProcessor, LogitsProcessorList

from genrec.models.beam import NEVER, beam_search
from genrec.models.exact import exact_search
from genrec.models.trie import build_trie, make_filter
from genrec.sids import NONE, make_index
from tests.models.conftest import CODES, LEVELS, TEXT_TOKENS


class LegalPrefixes(LogitsProcessor):
    """The plain way: a dictionary from prefix to legal tokens; full log-softmax, illegal tokens out."""

    def __init__(self, index, prompt_width):
        self.prompt_width = prompt_width
        self.legal: dict[tuple, set] = {}
        for row in index.codes:
            tokens = [TEXT_TOKENS + CODES * level + int(code) for level, code in enumerate(row)]
            for depth, token in enumerate(tokens):
                self.legal.setdefault(tuple(tokens[:depth]), set()).add(token)

    def __call__(self, input_ids, scores):
        masked = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids[:, self.prompt_width :].tolist()):
            legal = sorted(self.legal.get(tuple(ids), ()))
            masked[row, legal] = scores[row].log_softmax(-1)[legal]
        return masked


def generate(model, index, prompts, num_beams):
    """Token lists and scores of transformers' own beam search, left-padded."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(
        input_ids=ids, attention_mask=mask, num_beams=num_beams, num_return_sequences=num_beams, do_sample=False,
        max_new_tokens=LEVELS, min_new_tokens=LEVELS, length_penalty=0.0, pad_token_id=0, eos_token_id=None,
        temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0,
        logits_processor=LogitsProcessorList([LegalPrefixes(index, width)]),
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    shape = (len(prompts), num_beams)
    scores = None if num_beams == 1 else out.sequences_scores.view(*shape)  # greedy search reports none
    return out.sequences[:, width:].view(*shape, LEVELS), scores


def items(trie, leaves):
    return trie.item[trie.under[-1][leaves]]


def exhaustive(model, index, sids, prompt, normalization, allowed=None):
    """Score of every item by one plain forward pass each."""
    scores = []
    for item, row in enumerate(index.codes):
        total, path = 0.0, []
        for level, code in enumerate(row):
            if code == NONE:
                break
            logits = model(torch.tensor([prompt + path])).logits[0, -1].detach()
            if normalization == "trie":
                same = (index.codes[:, :level] == row[:level]).all(1)
                if allowed is not None:
                    same &= allowed
                legal = sids.level(level)[np.unique(index.codes[same, level]).tolist()]
                total += float(logits[sids.level(level)[code]] - logits[legal].logsumexp(-1))
            else:
                total += float(logits.log_softmax(-1)[sids.level(level)[code]])
            path.append(int(sids.level(level)[code]))
        scores.append(total if allowed is None or allowed[item] else -np.inf)
    return np.array(scores)


@pytest.mark.parametrize("num_beams, trees", [(1, True), (4, True), (20, True), (4, False)])
def test_same_list_and_scores_as_generate(model, index, sids, prompts, num_beams, trees):
    trie = build_trie(index)
    leaves, scores = beam_search(model, trie, sids, prompts, num_beams, trees=trees)
    tokens, expected = generate(model, index, prompts, num_beams)
    codes = index.codes[items(trie, leaves)]  # (B, K, L)
    ours = torch.from_numpy(codes.astype(np.int64)) + TEXT_TOKENS + CODES * torch.arange(LEVELS)
    assert torch.equal(ours, tokens)
    if num_beams > 1:
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_wide_beam_is_exhaustive_ranking(model, index, sids, prompts, normalization):
    trie = build_trie(index)
    leaves, scores = beam_search(model, trie, sids, prompts, 50, normalization)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, normalization)
        found = scores[row] > NEVER / 2
        assert found.sum() == len(index)  # fewer legal items than beams: all of them, none twice
        assert items(trie, leaves[row][found]).tolist() == np.argsort(-every).tolist()
        np.testing.assert_allclose(scores[row][found], np.sort(every)[::-1], atol=1e-4)


def test_a_model_that_cannot_read_trees_is_searched_row_by_row(index, sids, prompts):
    torch.manual_seed(0)
    vocabulary = TEXT_TOKENS + CODES * LEVELS
    model = BloomForCausalLM(BloomConfig(vocab_size=vocabulary, hidden_size=32, n_layer=2, n_head=4)).eval()
    trie = build_trie(index)
    leaves, scores = beam_search(model, trie, sids, prompts, 50, trees=False)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, "vocab")
        np.testing.assert_allclose(scores[row][scores[row] > NEVER / 2], np.sort(every)[::-1], atol=1e-4)


def test_hostile_generation_config_changes_nothing(model, index, sids, prompts):
    trie = build_trie(index)
    before = beam_search(model, trie, sids, prompts, 4)
    hostile = {"do_sample": True, "temperature": 0.3, "top_k": 2, "top_p": 0.1, "repetition_penalty": 5.0}
    for name, value in hostile.items():
        setattr(model.generation_config, name, value)
    after = beam_search(model, trie, sids, prompts, 4)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_deny_list_patches_the_trie(model, index, sids, prompts, normalization):
    allowed = np.ones(len(index), dtype=bool)
    allowed[::3] = False
    trie = build_trie(index)
    only = make_filter(trie, torch.from_numpy(allowed), None)
    leaves, scores = beam_search(model, trie, sids, prompts, 50, normalization, only)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, normalization, allowed)
        found = items(trie, leaves[row][scores[row] > NEVER / 2]).tolist()
        assert found == np.argsort(-every)[: allowed.sum()].tolist()


@pytest.mark.parametrize("search", [beam_search, exact_search])
def test_each_row_has_its_own_seen_items(model, index, sids, prompts, search):
    rng = np.random.default_rng(2)
    denied = np.stack([rng.choice(len(index), 6, replace=False) for _ in prompts])
    denied[0, 3:] = -1
    allowed = np.arange(len(index)) % 7 != 0  # both kinds of filter at once
    trie = build_trie(index)
    only = make_filter(trie, torch.from_numpy(allowed), torch.from_numpy(denied))
    leaves, scores = search(model, trie, sids, prompts, 50, "vocab", only)
    for row, prompt in enumerate(prompts):
        legal = allowed & ~np.isin(np.arange(len(index)), denied[row])
        every = exhaustive(model, index, sids, prompt, "vocab", legal)
        found = items(trie, leaves[row][scores[row] > NEVER / 2]).tolist()
        assert found == np.argsort(-every)[: legal.sum()].tolist()


@pytest.mark.parametrize("search", [beam_search, exact_search])
def test_unequal_depths(model, sids, prompts, search):
    """SIDs that end a level early keep their score; longer ones pay for their last code."""
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, NONE], [1, 2, NONE], [2, 2, 5]])
    index = make_index(codes, (CODES,) * LEVELS)
    trie = build_trie(index)
    leaves, scores = search(model, trie, sids, prompts, 10)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, "vocab")
        found = scores[row] > NEVER / 2
        assert items(trie, leaves[row][found]).tolist() == np.argsort(-every).tolist()


@pytest.mark.parametrize("search", [beam_search, exact_search])
def test_one_level(model, sids, prompts, search):
    index = make_index(np.array([[4], [0], [3]]), (CODES,))
    trie = build_trie(index)
    leaves, scores = search(model, trie, sids, prompts, 5)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, "vocab")
        assert items(trie, leaves[row][scores[row] > NEVER / 2]).tolist() == np.argsort(-every).tolist()
