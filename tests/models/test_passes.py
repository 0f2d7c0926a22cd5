"""The seam of the two passes gives what the model gives, and what is no model of torch may stand behind it."""

import torch
from transformers import DynamicCache

from genrec.models.beam import beam_search, read_prompts
from genrec.models.exact import exact_search
from genrec.models.passes import read_tokens
from genrec.models.trie import build_trie


class Recorder:
    """A Runtime that is the model itself, and counts what is read."""

    def __init__(self, model):
        self.model, self.read_widths = model, []
        self.device, self.dtype, self.config = model.device, model.dtype, model.config

    def get_output_embeddings(self):
        return self.model.get_output_embeddings()

    def read(self, ids, position, mask, past):
        self.read_widths.append(ids.shape[1])
        return read_tokens(self.model, ids, position, mask, past)


@torch.inference_mode()
def test_a_pass_is_the_decoders_own_bit_for_bit(model):
    ids = torch.randint(0, 40, (3, 9))
    cache = DynamicCache(config=model.config)
    wanted = model.get_decoder()(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    hidden, past = read_tokens(model, ids)
    assert torch.equal(hidden, wanted) and past.get_seq_length() == 9


@torch.inference_mode()
def test_tokens_read_in_two_passes_are_those_of_one(model):
    ids = torch.randint(0, 40, (2, 8))
    whole, _ = read_tokens(model, ids)
    _, past = read_tokens(model, ids[:, :5])
    mask = torch.ones(3, 8, dtype=torch.bool).tril(5).expand(2, 1, 3, 8)
    rest, past = read_tokens(model, ids[:, 5:], torch.arange(5, 8).expand(2, 3), mask, past)
    assert torch.allclose(rest, whole[:, 5:], atol=1e-5) and past.get_seq_length() == 8


def test_searches_take_any_runtime(model, index, sids, prompts):
    trie, runtime = build_trie(index), Recorder(model)
    for search, size in ((beam_search, 7), (exact_search, 7)):
        for one, other in zip(
            search(runtime, trie, sids, prompts, size), search(model, trie, sids, prompts, size), strict=True
        ):
            assert torch.equal(one, other)
    assert runtime.read_widths[:3] == [12, 6, 7]  # prompts; all six codes; seven beams


def test_prompts_are_read_once(model, prompts):
    runtime = Recorder(model)
    _, last, seen, length = read_prompts(runtime, prompts)
    assert runtime.read_widths == [12] and seen.sum(1).tolist() == length.tolist() == list(map(len, prompts))
    assert last.shape == (len(prompts), 32)
