"""The device of a model, and what is said where there is none such."""

from __future__ import annotations

import torch

from genrec.errors import ArtifactError
from genrec.runtime.device import pick_device


class NoSuchDevice(ArtifactError, SystemExit):
    """A device that is not here. Where nobody catches it, Python ends in its sentence: a pasted script with `cuda` in
    it needs no traceback to say that there is no GPU."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.code = f"error: {sentence}"


def find_device(name: str | torch.device) -> torch.device:
    """auto, cpu, cuda or cuda:1 -> the device."""
    try:
        return pick_device(str(name), "device")
    except ArtifactError as error:
        raise NoSuchDevice(str(error)) from None
