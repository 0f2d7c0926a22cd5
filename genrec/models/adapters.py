"""Training less than the whole model: LoRA, or nothing but the SID rows (peft does both; the export is merged)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from genrec.config import Lora, QLora, Sft
from genrec.errors import ArtifactError
from genrec.lines import FOUR_BIT_NOTES
from genrec.models.beam import SidVocabulary
from genrec.stage import installed

EMBEDDING, HEAD = "embed_tokens", "lm_head"  # their names in Qwen2, Qwen3 and Llama


def attach_adapters(model: PreTrainedModel, sids: SidVocabulary, settings: Sft) -> PreTrainedModel | PeftModel:
    """The model as `sft` trains it: whole, with LoRA matrices and SID rows, or SID rows alone (`freeze_LLM`)."""
    rows = sids.token.tolist()
    tables = [EMBEDDING] if model.config.tie_word_embeddings else [EMBEDDING, HEAD]
    if settings.freeze_LLM:
        return get_peft_model(model, TrainableTokensConfig(token_indices=rows, target_modules=tables))
    if not settings.lora.r:
        return model
    return get_peft_model(model, lora_config(settings.lora, {name: rows for name in tables}))


def lora_config(settings: Lora, rows: dict[str, list[int]] | None = None) -> LoraConfig:
    """Adapters of the given shape; `rows` are embedding rows to train beside them, by table."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.targets,
        trainable_token_indices=rows,
    )


def quantization_arguments(settings: QLora, device: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load weights in 4 bits where asked; the sums are made in bfloat16 on GPU."""
    if settings.quantize == "none":
        return {}
    if installed("bitsandbytes") is None:
        raise ArtifactError(
            f"sft.lora.quantize is {settings.quantize}, which needs bitsandbytes; pip install bitsandbytes, "
            "or --sft.lora.quantize none"
        )
    FOUR_BIT_NOTES.release()
    bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
    )
    return {"quantization_config": bits, "device_map": {"": device}}


def move_adapters(adapted: PeftModel, base: PreTrainedModel) -> PeftModel:
    """The adapters and SID rows of one copy of a model on another: from 4-bit weights to whole ones."""
    other = get_peft_model(base, adapted.peft_config["default"])
    set_peft_model_state_dict(other, get_peft_model_state_dict(adapted))
    return other


def merge_adapters(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model again, adapters folded into its weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


@contextmanager
def gather_weights(model: nn.Module) -> Iterator[None]:
    """Within: every process holds all weights, also where ZeRO-3 has dealt them out."""
    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        yield
