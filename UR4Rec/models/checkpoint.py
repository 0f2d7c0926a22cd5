"""A training state in one safetensors file, whole or not at all: modules and AdamW moments, and JSON for the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genrec.artifacts import ArtifactError, first_line

Modules = dict[str, nn.Module]
Optimizers = dict[str, torch.optim.Optimizer]


def write_checkpoint(path: Path, modules: Modules, optimizers: Optimizers, state: dict[str, Any]) -> None:
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{name}/{number}/{key}": value for key, value in moments.items()}
    write_tensors(path, tensors, state)


def write_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Copies, since towers may share the frozen vectors and the format wants each tensor to stand alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    save_file({key: value.detach().clone() for key, value in tensors.items()}, beside, {"state": json.dumps(state)})
    os.replace(beside, path)


def read_checkpoint(path: Path, modules: Modules, optimizers: Optimizers) -> dict[str, Any]:
    """Fill modules and optimizers; returns the JSON part."""
    tensors, state = open_checkpoint(path)
    for name, module in modules.items():
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        try:
            module.load_state_dict(own)
        except (RuntimeError, KeyError) as error:
            raise ArtifactError(f"{path} was saved by a trainer with other settings: {first_line(error)}") from None
    for name, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "adam" and rest.startswith(f"{name}/"):
                _, number, moment = rest.split("/")
                moments.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return state


def open_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["state"])
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path} is no checkpoint of this trainer: {first_line(error)}") from None
