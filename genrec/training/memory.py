"""What SFT and RL will need of memory, in lines for the screen."""

from __future__ import annotations

from pathlib import Path

import torch

from genrec.config import Config, Rl, Sft
from genrec.launch import note, world_size
from genrec.models.memory import (
    GIB,
    SINGLE,
    MemoryNeed,
    ModelSize,
    Pass,
    device_memory,
    estimate_need,
    read_size,
    warn_if_larger,
)
from genrec.runtime.device import pick_device
from genrec.training.arguments import split_step

ANSWERS = 32  # answer tokens a row: a title, or the SIDs of a user whose rows are one tree


def note_memory_of_sft(config: Config) -> None:
    """Before the base model is loaded; nothing of a small model made from nothing."""
    settings, device = config.sft, pick_device(config.run.device)
    new_tokens = config.sids.num_levels * config.sids.codebook_size
    if settings.train_from_scratch or not (size := read_size(settings.base_model, new_tokens)):
        return
    need = need_of_sft(settings, size, new_tokens, uses_bf16(settings, device))
    ways_on = "--sft.micro_batch_size, --sft.gradient_checkpointing True, --sft.lora.r 16, --sft.lora.quantize nf4"
    note_need("sft", size, need, device, f"ways on: {ways_on}")
    if settings.lora.quantize != "none":
        note(
            "sft",
            f"memory: at the end {SINGLE * size.parameters / GIB:.1f} GiB of the machine's, to write the whole model",
        )


def need_of_sft(settings: Sft, size: ModelSize, new_tokens: int, bf16: bool) -> MemoryNeed:
    micro, _ = split_step(settings.batch_size, settings.micro_batch_size)
    one = Pass(
        tokens=micro * (settings.cutoff_len + ANSWERS),
        answers=micro * ANSWERS,
        choices=size.vocabulary,
        bf16=bf16,
        checkpointing=settings.gradient_checkpointing,
        passes=2 if settings.rdrop else 1,
    )
    lora = settings.lora if settings.lora.r else None
    return estimate_need(size, count_trained(settings, size, new_tokens), one, lora)


def count_trained(settings: Sft, size: ModelSize, new_tokens: int) -> int:
    """Parameters that SFT trains: SID rows alone, SID rows and adapters, or all."""
    if settings.freeze_LLM:
        return size.in_rows(new_tokens)
    return size.in_adapters(settings.lora) + size.in_rows(new_tokens) if settings.lora.r else size.parameters


def note_memory_of_rl(config: Config, model_dir: Path, cutoff_len: int) -> None:
    """Before the SFT model is loaded."""
    settings, device = config.rl, pick_device(config.run.device)
    size = read_size(str(model_dir))
    assert size is not None, f"{model_dir} is a directory"
    need = need_of_rl(settings, size, cutoff_len, config.sids.num_levels, uses_bf16(settings, device))
    ways_on = "--rl.micro_batch_size, --rl.gradient_checkpointing True, --rl.lora.r 16"
    note_need("rl", size, need, device, f"ways on: {ways_on}")


def need_of_rl(settings: Rl, size: ModelSize, cutoff_len: int, num_levels: int, bf16: bool) -> MemoryNeed:
    """A group reads its prompt once; logits are those of the codes, which are few."""
    micro, _ = split_step(settings.batch_size, settings.micro_batch_size)
    groups = max(1, micro // settings.num_generations)
    one = Pass(
        tokens=groups * (cutoff_len + settings.num_generations * num_levels),
        answers=0,
        choices=0,
        bf16=bf16,
        checkpointing=settings.gradient_checkpointing,
    )
    if settings.lora.r:  # the reference is the model without its adapters
        return estimate_need(size, size.in_adapters(settings.lora), one, settings.lora)
    return estimate_need(size, size.parameters, one, references=1 if settings.beta else 0)


def uses_bf16(settings: Sft | Rl, device: torch.device) -> bool:
    if settings.bf16 != "auto":
        return bool(settings.bf16)
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def note_need(stage: str, size: ModelSize, need: MemoryNeed, device: torch.device, ways_on: str) -> None:
    each = " a process" if world_size() > 1 else ""
    note(stage, f"memory{each}: {need.describe()}; {size.parameters / 1e6:,.1f} M parameters")
    for line in warn_if_larger(need, device_memory(device), device, ways_on):
        note(stage, line)
