"""The search in numpy gives the lists of the search in torch: by the same model, so that the search alone is held."""

import numpy as np
import pytest
import torch

from genrec.models.array_beam import NEVER, Open, Search, SidIds, array_beam_search, log_sum_exp, take_best
from genrec.models.beam import beam_search
from genrec.models.onnx_graph import GraphPast
from genrec.models.passes import read_tokens
from genrec.models.ranges import build_ranges
from genrec.models.trie import build_trie, deny_items
from genrec.sids import NONE, make_index
from tests.models.conftest import CODES, LEVELS, TEXT_TOKENS


class TorchGraph:
    """What a graph gives, by the model itself."""

    def __init__(self, model):
        self.model = model

    @torch.inference_mode()
    def read(self, ids, position, mask, past):
        given = [
            None if array is None else torch.from_numpy(np.ascontiguousarray(array)) for array in (ids, position, mask)
        ]
        hidden, past = read_tokens(self.model, *given, past)
        return hidden.numpy(), past


def search_of(model, index, beams, normalization):
    first = tuple(CODES * level for level in range(LEVELS))
    ids = SidIds(np.arange(TEXT_TOKENS, TEXT_TOKENS + CODES * LEVELS), first, (CODES,) * LEVELS)
    head = model.get_output_embeddings().weight.detach().numpy()
    return Search(TorchGraph(model), head, build_ranges(index), ids, beams, normalization)


def assert_same(ours, theirs):
    leaf, score = ours
    wanted, value = (tensor.numpy() for tensor in theirs)
    real = value > NEVER / 2
    assert np.array_equal(real, score > NEVER / 2)
    assert np.array_equal(leaf[real], wanted[real])
    assert np.allclose(score[real], value[real], atol=1e-4)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
@pytest.mark.parametrize("beams", [1, 4, 30, 50])
def test_lists_are_those_of_torch(model, index, sids, prompts, normalization, beams):
    ours = array_beam_search(search_of(model, index, beams, normalization), prompts)
    assert_same(ours, beam_search(model, build_trie(index), sids, prompts, beams, normalization))


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_denied_items_leave_each_row_its_own_list(model, index, sids, prompts, normalization):
    random = np.random.default_rng(0)
    denied = np.full((len(prompts), 12), -1)
    for row, count in enumerate((0, 3, 12, 7, 1)):
        denied[row, :count] = random.choice(len(index), count, replace=False)
    trie, search = build_trie(index), search_of(model, index, 10, normalization)
    place = np.argsort(search.ranges.item)
    only = Open(tuple(np.sort(place[row[row >= 0]]) for row in denied))
    theirs = beam_search(
        model, trie, sids, prompts, 10, normalization, deny_items(trie, None, torch.from_numpy(denied))
    )
    assert_same(array_beam_search(search, prompts, only), theirs)


def test_shorter_sids_end_where_they_end(model, sids, prompts):
    codes = np.array([[0, 0, 0], [0, 1, NONE], [1, NONE, NONE], [2, 0, 1], [2, 0, 2]])
    index = make_index(codes, (CODES,) * LEVELS)
    for normalization in ("vocab", "trie"):
        ours = array_beam_search(search_of(model, index, 5, normalization), prompts)
        assert_same(ours, beam_search(model, build_trie(index), sids, prompts, 5, normalization))


def test_a_past_drops_tokens_and_rows():
    past = GraphPast([np.arange(24.0).reshape(2, 1, 4, 3)])
    past.crop(-1)
    assert past.arrays[0].shape == (2, 1, 3, 3)
    past.batch_select_indices(np.array([1]))
    assert past.arrays[0][0, 0, 0].tolist() == [12, 13, 14]


def test_small_parts_by_hand():
    assert take_best(np.array([[1.0, 3.0, 2.0]]), 2).tolist() == [[1, 2]]
    assert take_best(np.array([[1.0, 3.0]]), 5).tolist() == [[1, 0]]
    assert np.allclose(log_sum_exp(np.log(np.array([[1.0, 3.0]]))), np.log(4))
    only = Open((np.array([0, 2]), np.array([], dtype=np.int64)))
    assert only.left(np.array([[0, 2], [0, 2]]), np.array([[2, 3], [2, 3]])).tolist() == [[1, 0], [2, 1]]
