"""Models on disk.

A model is one .safetensors file with its card in the header: options, shape, schema, and where training stood. A JSON
copy of the card and a .pt export stand beside it for people and other programs. Files are whole or not there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genrec.artifacts import whole_file, write_json
from genrec.errors import ArtifactError, first_line
from genrec.runtime.tensor_file import read_tensors, write_tensors
from tencentgr.features import FeatureSchema
from tencentgr.model import TencentGR, TencentGRShape

BEST, CHECKPOINT = "best_model", "model"
CARD = "card"  # its key in the header
CONFIG = "config.json"  # the card in a checkpoint's directory; that of best_model is best_model.json

Card = dict[str, Any]


def make_card(model: TencentGR, options: dict[str, Any], **standing: Any) -> Card:
    """{"args", "model_params", "epoch", "global_step", "valid_loss", ..., "shape", "schema"}."""
    params = sum(parameter.numel() for parameter in model.parameters())
    return {
        "args": options,
        "model_params": params,
        **standing,
        "shape": asdict(model.shape),
        "schema": asdict(model.schema),
    }


def save_best(directory: Path, model: TencentGR, card: Card) -> None:
    write_tensors(directory / f"{BEST}.safetensors", model.state_dict(), CARD, card)
    write_json(directory / f"{BEST}.json", card)
    with whole_file(directory / f"{BEST}.pt") as file:
        torch.save({"model_state_dict": model.state_dict(), "config": json.dumps(card)}, file)


def save_checkpoint(directory: Path, model: TencentGR, card: Card) -> Path:
    """global_step{n}.valid_loss={x}/{model.safetensors, config.json}."""
    target = directory / f"global_step{card['global_step']}.valid_loss={card['valid_loss']:.4f}"
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / f"{CHECKPOINT}.safetensors", model.state_dict(), CARD, card)
    write_json(target / CONFIG, card)
    return target


def load_model(path: Path, shape: TencentGRShape, schema: FeatureSchema) -> tuple[TencentGR, Card | None]:
    """A saved model, in evaluation mode. Weights without a card (a bare state_dict) need the given shape and schema."""
    tensors, card = read_weights(path)
    if card is not None:
        shape, schema = shape_of(card), FeatureSchema.from_dict(card["schema"])
    model = TencentGR(shape, schema)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"the weights of {path} do not fit the model that the flags and data describe: {detail}"
        ) from None
    return model.eval(), card


def shape_of(card: Card) -> TencentGRShape:
    return TencentGRShape(**card["shape"] | {"similarity": tuple(card["shape"]["similarity"])})


def read_weights(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors and card of a .safetensors file, a .pt file, or a directory that holds one of ours."""
    if path.is_dir():
        names = [f"{name}.safetensors" for name in (CHECKPOINT, BEST)]
        path = next((path / name for name in names if (path / name).exists()), path / names[0])
    if not path.exists():
        raise ArtifactError(f"no model {path}; training writes best_model.pt into its log directory")
    return read_pt(path) if path.suffix == ".pt" else read_tensors(path, CARD)


def read_pt(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors only: a file that wants to run code is refused by torch."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or dangerous file can raise nearly anything
        raise ArtifactError(f"{path} cannot be read as tensors: {first_line(error)}") from None
    tensors = content.get("model_state_dict", content)
    return tensors, json.loads(content["config"]) if "config" in content else None
