"""The sections `sft` and `rl` as arguments of transformers' Trainer, as far as they have them in common."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainingArguments

from genrec.config import Rl, Run, Sft
from genrec.errors import ArtifactError, first_line
from genrec.launch import world_size
from genrec.runtime.device import pick_device
from genrec.stage import installed
from genrec.training.validation import VALID_METRIC


def common_arguments(settings: Sft | Rl, run: Run, directory: Path) -> dict[str, Any]:
    """How any language model is trained here."""
    ignore_renamings()
    device = pick_device(run.device)
    cuda = device.type == "cuda"
    if world_size() == 1 and device.index:
        raise ArtifactError(
            f"run.device is {run.device}, but the Trainer takes the first GPU it sees; choose with "
            f"CUDA_VISIBLE_DEVICES={device.index} and leave run.device auto"
        )
    return {
        "output_dir": str(directory),
        "seed": run.seed,
        "restore_callback_states_from_checkpoint": True,  # the patience of early stopping survives a kill
        "disable_tqdm": not sys.stderr.isatty(),
        "use_cpu": not cuda,
        "ddp_backend": "gloo" if world_size() > 1 and not cuda else None,
        "bf16": settings.bf16 if settings.bf16 != "auto" else cuda and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": settings.gradient_checkpointing,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "save_strategy": "steps",
        "save_total_limit": 2,
        "metric_for_best_model": f"eval_{VALID_METRIC}",
        "greater_is_better": True,
        "report_to": [],
    }


def ignore_renamings() -> None:
    """transformers warns, in every run, of names that its version 6 will change and that 5.17 and TRL still need."""
    warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)


def limit_to_one_gpu(arguments: TrainingArguments) -> None:
    """One process drives one GPU; several GPUs are several processes (torchrun)."""
    if arguments.device.type == "cuda":
        arguments._n_gpu = 1


def framework_arguments(section: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a config passes through to TrainingArguments, a DeepSpeed configuration read from its YAML or JSON file."""
    if not isinstance(given.get("deepspeed"), str):
        return given
    if installed("deepspeed") is None:
        raise ArtifactError(
            f"{section}.deepspeed is {given['deepspeed']}, but DeepSpeed is not installed; pip install deepspeed, "
            "or leave the key out"
        )
    try:
        return given | {"deepspeed": yaml.safe_load(Path(given["deepspeed"]).read_text(encoding="utf-8"))}
    except (OSError, yaml.YAMLError) as error:
        raise ArtifactError(f"{section}.deepspeed {given['deepspeed']} cannot be read: {first_line(error)}") from None


def split_step(batch: int, micro: int) -> tuple[int, bool]:
    """Rows a forward pass of one process, at most `micro`, and whether such passes fill a step of `batch` rows."""
    local, rest = divmod(batch, world_size())
    micro = min(micro, local)
    return micro, bool(micro) and not (rest or local % micro)
