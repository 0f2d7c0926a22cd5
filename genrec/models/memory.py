"""What a training will need of memory, from the model's config.json alone: said before anything is loaded.

P parameters, t of them trained, W in linear layers, V vocabulary, d width, h = heads x their width, f feed-forward
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from genrec.config import Lora, QLora
from genrec.errors import ArtifactError, first_line
from genrec.models.gguf import gguf_file, require_model_directory
from genrec.models.language import is_local, unreachable

GIB, MIB = 2**30, 2**20
SINGLE, HALF = 4, 2  # bytes of float32 and bfloat16
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes: 4 bits, 8 a block of 64, 32 a block of 256 blocks; arXiv 2305.14314, 2
ADAMW = 2 * SINGLE  # bytes of state a trained parameter: two moments; arXiv 1910.02054, 3.1

# Bytes a token and layer that the backward pass needs, as factors of (d, h, f): counted from what autograd saves of a
# Qwen2 layer with fused attention. Under bfloat16 autocast norms and the residual stay in float32.
WHOLE = {True: (26, 8, 8), False: (24, 16, 16)}  # bfloat16? -> all weights trained
ADAPTED = {True: (18, 10, 8), False: (16, 16, 16)}  # frozen weights need no input; adapters keep theirs
DROPPED = {True: (5, 1, 1), False: (25, 5, 5)}  # dropout before adapters: a mask a linear layer, in float32 a copy too
LOGIT = {True: 14, False: 12}  # bytes a logit of an answer token: itself, in float32, its softmax, its gradient


@dataclass(frozen=True)
class ModelSize:
    """Counts of a causal language model."""

    parameters: int  # P
    linear: tuple[tuple[str, int, int], ...]  # (name, inputs, outputs) of all but the head
    num_layers: int
    width: int  # d
    heads_width: int  # h
    feed_width: int  # f
    vocabulary: int  # V
    tables: int  # embedding and head: 1 where they are tied

    @property
    def in_linear(self) -> int:
        """W, biases aside."""
        return sum(inputs * outputs for _, inputs, outputs in self.linear)

    def in_adapters(self, lora: Lora) -> int:
        """r (inputs + outputs) a layer that gets one; arXiv 2106.09685, 4.1."""
        names = lora.targets
        chosen = [each for each in self.linear if names == "all-linear" or each[0].split(".")[-1] in names]
        return sum(lora.r * (inputs + outputs) for _, inputs, outputs in chosen)

    def in_rows(self, num_rows: int) -> int:
        """Of embedding rows that are trained, in every table."""
        return num_rows * self.width * self.tables


def read_size(base_model: str, new_tokens: int = 0) -> ModelSize | None:
    """Of a local directory or hub name, its vocabulary grown by `new_tokens`.

    None of a GGUF file, which has no config.json.
    """
    if gguf_file(base_model):
        return None
    try:
        config = read_config(base_model)
        config.get_text_config().vocab_size += new_tokens
        return measure_size(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # what transformers says of configs it knows not
        raise ArtifactError(f"{base_model} cannot be loaded: {first_line(error)}") from None


def read_config(base_model: str) -> PretrainedConfig:
    local = is_local(base_model)
    if local:
        require_model_directory(Path(base_model))
    try:
        return AutoConfig.from_pretrained(base_model, local_files_only=local)
    except OSError as error:
        if local:
            raise ArtifactError(f"{base_model} cannot be loaded: {first_line(error)}") from None
        raise unreachable(base_model, error) from None


def measure_size(config: PretrainedConfig) -> ModelSize:
    """Counts of the model that a configuration describes, built without memory for its weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head, text = model.get_output_embeddings(), config.get_text_config()
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear=tuple((name, module.in_features, module.out_features) for name, module in linear if module is not head),
        num_layers=text.num_hidden_layers,
        width=text.hidden_size,
        heads_width=text.num_attention_heads * head_width,
        feed_width=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,  # GPT-2's form has no such key
        vocabulary=text.vocab_size,
        tables=1 if config.tie_word_embeddings else 2,
    )


@dataclass(frozen=True)
class Pass:
    """One forward pass of a training, and how it is computed."""

    tokens: int  # that are read
    answers: int  # tokens whose logits are needed
    choices: int  # logits of each
    bf16: bool
    checkpointing: bool
    passes: int = 1  # that are kept at once


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of the device by what takes them."""

    weights: float
    gradients: float
    optimizer: float
    copies: float  # of weights in bfloat16, which autocast makes and the backward pass needs
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))

    def describe(self) -> str:
        """'about 31.9 GiB: weights 11.5, gradients 0.1, ...', without what is nothing; a small model's in MiB."""
        unit, name = (GIB, "GiB") if self.total >= GIB else (MIB, "MiB")
        parts = [(field.name, getattr(self, field.name) / unit) for field in fields(self)]
        shares = ", ".join(f"{part} {amount:.1f}" for part, amount in parts if amount >= 0.05)
        return f"about {self.total / unit:.1f} {name}: {shares}"


def estimate_need(
    size: ModelSize, trained: int, one: Pass, lora: Lora | None = None, references: int = 0
) -> MemoryNeed:
    """Of P parameters, t of them trained, W in linear layers:

    weights      4 (P + references P), quantised NF4 W + 4 (P - W); and 4 t of adapters and of rows beside their table
    gradients    4 t
    optimizer    8 t (AdamW)
    copies       2 W under bfloat16 autocast; none of quantised weights; of one layer with checkpointing and adapters
    activations  tokens x layers x (a d + b h + c f), or with checkpointing tokens x (4 d layers + one layer of these)
    logits       answers x choices x 14 (12 in float32)

    Quantised weights are counted by arXiv 2305.14314, moments by arXiv 1910.02054, checkpointing by arXiv 1604.06174;
    the factors a, b, c stand above.
    """
    frozen = lora is not None
    quantised = isinstance(lora, QLora) and lora.quantize == "nf4"
    whole = (1 + references) * SINGLE * size.parameters
    weights = NF4 * size.in_linear + SINGLE * (size.parameters - size.in_linear) if quantised else whole
    kept_layers = 1 if one.checkpointing and frozen else size.num_layers
    copied = one.bf16 and not quantised
    return MemoryNeed(
        weights=weights + (SINGLE * trained if frozen else 0),
        gradients=SINGLE * trained,
        optimizer=ADAMW * trained,
        copies=HALF * size.in_linear * kept_layers / size.num_layers if copied else 0,
        activations=one.passes * one.tokens * bytes_a_token(size, one, lora),
        logits=one.passes * one.answers * one.choices * LOGIT[one.bf16],
    )


def bytes_a_token(size: ModelSize, one: Pass, lora: Lora | None) -> int:
    """What the layers keep of a token until the backward pass."""
    factors = (WHOLE if lora is None else ADAPTED)[one.bf16]
    if lora is not None and lora.dropout:
        factors = [factor + more for factor, more in zip(factors, DROPPED[one.bf16], strict=True)]
    widths = (size.width, size.heads_width, size.feed_width)
    layer = sum(factor * width for factor, width in zip(factors, widths, strict=True))
    return SINGLE * size.width * size.num_layers + layer if one.checkpointing else layer * size.num_layers


def device_memory(device: torch.device) -> int:
    """Bytes that the device has in all: a GPU's own, of the CPU the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def warn_if_larger(need: MemoryNeed, memory: int, device: torch.device, ways_on: str) -> list[str]:
    if need.total <= memory:
        return []
    return [
        f"warning: {device} has {memory / GIB:.1f} GiB, and the training needs about {need.total / GIB:.1f}; {ways_on}"
    ]
