"""Small random language models of each family, with SID tokens at the end of their vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from genrec.models.beam import SidVocabulary
from genrec.sids import make_index

TEXT_TOKENS, CODES, LEVELS = 40, 6, 3
SHAPE = {
    "vocab_size": TEXT_TOKENS + CODES * LEVELS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # far from uniform, so that ranks are clear
}
FAMILIES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "smollm": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True, "rope_theta": 10000.0}),
}


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    config, family, extra = FAMILIES[request.param]
    return family._from_config(config(**SHAPE, **extra), attn_implementation="sdpa").eval()


@pytest.fixture
def index():
    """30 items with distinct SIDs of three levels."""
    rng = np.random.default_rng(0)
    space = rng.permutation(CODES**LEVELS)[:30]
    return make_index(np.stack(np.unravel_index(space, (CODES,) * LEVELS), axis=1), (CODES,) * LEVELS)


@pytest.fixture
def sids():
    first = tuple(CODES * level for level in range(LEVELS))
    return SidVocabulary(torch.arange(TEXT_TOKENS, TEXT_TOKENS + CODES * LEVELS), first, (CODES,) * LEVELS)


@pytest.fixture
def prompts():
    """Uneven prompts of text tokens."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, TEXT_TOKENS, size=length).tolist() for length in (9, 4, 12, 1, 7)]
