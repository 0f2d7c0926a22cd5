"""Tensors and a JSON header in one safetensors file, whole or not at all: models, and trainings that a kill may stop.

A training's state names every tensor by what it belongs to: "model.<name>", "<another module>.<name>", and an
optimizer's moments "optimizer.<number of the parameter>.<moment>", or "optimizer.<its name>.<number>.<moment>" where
there are several.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from genrec.artifacts import whole_path
from genrec.errors import ArtifactError, first_line

MODEL = "model."  # what a model's weights begin with in a training's state

Tensors = dict[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, key: str, header: Any) -> None:
    """Copies, since modules may share memory and the format wants each tensor to stand alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    with whole_path(path) as beside:
        save_file(copies, beside, {key: json.dumps(header)})


def read_tensors(path: Path, key: str) -> tuple[Tensors, Any]:
    """The tensors, and the header of that key; None where the file has none."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = (file.metadata() or {}).get(key)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    return tensors, None if header is None else json.loads(header)


def read_state(path: Path, key: str) -> tuple[Tensors, Any]:
    """The same of a training's state, which is nothing without its header."""
    tensors, header = read_tensors(path, key)
    if header is None:
        raise ArtifactError(f"{path} is no checkpoint of this trainer: its header has no '{key}'")
    return tensors, header


def pack_state(modules: dict[str, nn.Module], optimizers: dict[str, Optimizer]) -> Tensors:
    """{"model": module, ...} and {"optimizer": optimizer, ...} -> one training's tensors by name."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= pack_moments(f"{name}.", optimizer)
    return tensors


def unpack_state(tensors: Tensors, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer]) -> None:
    """Fill what `pack_state` was given; the rates of an optimizer stay as they are."""
    for name, module in modules.items():
        module.load_state_dict(select(f"{name}.", tensors))
    for name, optimizer in optimizers.items():
        unpack_moments(f"{name}.", tensors, optimizer)


def select(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose names begin so, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def pack_moments(prefix: str, optimizer: Optimizer) -> Tensors:
    """The optimizer's state; its rates belong to the schedule and are not in it."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}{number}.{name}": value for number, own in state.items() for name, value in own.items()}


def unpack_moments(prefix: str, tensors: Tensors, optimizer: Optimizer) -> None:
    state: dict[int, Tensors] = {}
    for name, value in select(prefix, tensors).items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
