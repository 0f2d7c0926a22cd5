"""Semantic IDs of new items while a program serves: a call, no file is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from genrec.quantizers.rqvae_training import quantize
from tencentgr.rqvae import MODEL, load_model, read_header


class IdEncoder:
    """The frozen quantizer that train_rqvae.py wrote into a directory."""

    def __init__(self, directory: Path | str, device: str = "cpu"):
        path = Path(directory) / MODEL
        self.mm_emb_id: list[str] = read_header(path)["mm_emb_id"]
        self.model = load_model(path).to(device).eval()
        self.device = device

    def encode(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """{embedding id: (n, width)} of n creatives, zeros where one lacks it -> codes (n, L), as `--add` gives them.

        Raises ValueError where the embeddings are not those of the training, or differ in length.
        """
        widths = dict(zip(self.mm_emb_id, self.model.shape.widths, strict=True))
        shapes = {name: np.shape(values) for name, values in vectors.items()}
        rows = next(iter(shapes.values()), (0,))[0]
        wanted = {name: (rows, width) for name, width in widths.items()}
        if shapes != wanted:
            raise ValueError(f"vectors of the shapes {shapes} were given, {wanted} are needed")
        joined = np.concatenate([np.asarray(vectors[name], np.float32) for name in widths], axis=1)
        return quantize(self.model, torch.from_numpy(joined).to(self.device)).codes
