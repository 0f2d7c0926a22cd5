"""A trained language model as one GGUF file: its weights and its vocabulary, for what reads GGUF.

The numbers are the model's own in float16, vectors in float32; names and layout are llama.cpp's, by the package gguf.
Such a file decodes freely: what keeps lists inside the catalogue is the trie, which is this project's. SID tokens have
the kind user-defined. transformers (5.17) reads that kind as plain vocabulary, so it does not find them in a text, and
takes every head of a Qwen3 to be 128 wide.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAMILIES = ("llama", "qwen2", "qwen3")  # model_type; GGUF has the same names
INSTALL = "pip install 'genrec[gguf]'"
MOST = float(np.finfo(np.float16).max)


def require_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise ConfigError(f"backend gguf needs the package gguf, which is not installed; {INSTALL}") from None


def write_gguf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """ArtifactError for a family that has no place here, or weights that float16 cannot hold."""
    from gguf import GGUFWriter

    family = model.config.model_type
    if family not in FAMILIES:
        raise ArtifactError(f"a {family} cannot be written as GGUF, only {', '.join(FAMILIES)}; leave out backend gguf")
    writer = GGUFWriter(path, family)
    add_shape(writer, model.config)
    add_vocabulary(writer, tokenizer, model.get_input_embeddings().num_embeddings)
    add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer: GGUFWriter, config: Any) -> None:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(1)  # mostly float16


def add_vocabulary(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """The byte-level BPE of the tokenizer; rows of the embedding without a token are named and unused."""
    from gguf import TokenType as Kind

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    special, added = set(tokenizer.all_special_ids), tokenizer.added_tokens_decoder
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    kinds = [
        Kind.CONTROL
        if n in special
        else Kind.USER_DEFINED
        if n in added
        else Kind.NORMAL
        if n in names
        else Kind.UNUSED
        for n in range(rows)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if writer.arch.startswith("qwen") else "default")
    writer.add_token_list([names.get(number, f"[UNUSED{number}]") for number in range(rows)])
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id  # readers want one
    writer.add_add_bos_token(False)
    for add, number in (
        (writer.add_bos_token_id, first),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)


def add_weights(writer: GGUFWriter, model: PreTrainedModel) -> None:
    """Every tensor once; of tied embeddings the first stands for both."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    config = model.config
    architecture = getattr(MODEL_ARCH, config.model_type.upper())
    places = get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        place = places.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise ArtifactError(
                f"GGUF has no place for the tensor {name} of a {config.model_type}; leave out backend gguf"
            )
        numbers = weight.detach().float().cpu().numpy()
        if config.model_type == "llama" and (heads := rotated_heads(name, config)):
            numbers = interleave_halves(numbers, heads)
        if np.abs(numbers).max(initial=0) > MOST:
            raise ArtifactError(
                f"{name} holds {np.abs(numbers).max():.3g}, more than float16 can; leave out backend gguf"
            )
        writer.add_tensor(place, numbers.astype(np.float16) if numbers.ndim > 1 else numbers)


def rotated_heads(name: str, config: Any) -> int:
    """How many heads' rotary dimensions a tensor has, 0 where it has none."""
    if "q_proj" in name:
        return config.num_attention_heads
    return config.num_key_value_heads if "k_proj" in name else 0


def interleave_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """(heads * width, ...) -> the same with the two halves of each head's rows taken in turn, as llama.cpp rotates."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
