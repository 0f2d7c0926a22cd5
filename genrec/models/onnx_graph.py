"""The exported decoder, read by ONNX Runtime: one graph for the prompts and for tokens of a tree that hangs from them.

B rows, S tokens that a pass reads, P tokens read before, H heads of keys and values, D width of a head, d width

    ids (B, S)  position (B, S)  mask (B, 1, S, P + S)  key_0 (B, H, P, D)  value_0 ...  ->  hidden (B, S, d)  and
    present_key_0 (B, H, P + S, D)  present_value_0 ...                       the same for every block

Needs onnxruntime and numpy alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec.errors import ArtifactError, ConfigError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INSTALL = "pip install 'genrec[onnx]'"
MODEL_KEY = "genrec.model"  # in a graph's metadata: the fingerprint of the model it was made from


class GraphPast:
    """Keys and values of the tokens read so far, a pair a block; a pass adds those of its own tokens in place."""

    def __init__(self, arrays: list[np.ndarray]):
        self.arrays = arrays  # (B, H, P, D) each

    def crop(self, length: int) -> None:
        """Drop the last -length tokens."""
        self.arrays = [array[:, :, :length] for array in self.arrays]

    def batch_select_indices(self, indices: np.ndarray) -> None:
        """Keep these rows."""
        self.arrays = [array[np.asarray(indices)] for array in self.arrays]


class Graph:
    """A decoder that ONNX Runtime holds."""

    def __init__(self, path: Path, model: str):
        """`model` is the fingerprint that the graph must carry."""
        self.session = open_session(path)
        inputs = {node.name: node for node in self.session.get_inputs()}
        past = [name for name in inputs if name.startswith(("key_", "value_"))]
        if list(inputs) != ["ids", "position", "mask", *past] or not past:
            raise ArtifactError(f"{path} is no decoder of this project: its inputs are {', '.join(inputs)}")
        carried = self.session.get_modelmeta().custom_metadata_map.get(MODEL_KEY, "none")
        if carried != model:
            raise ArtifactError(f"{path} was made from model {carried}, export.json is of {model}; get both again")
        self.past = {name: (inputs[name].shape[1], inputs[name].shape[3]) for name in past}  # (H, D) of each

    def read(
        self, ids: np.ndarray, position: np.ndarray | None, mask: np.ndarray | None, past: GraphPast | None
    ) -> tuple[np.ndarray, GraphPast]:
        """ids (B, S) int64 ... -> hidden (B, S, d), past; without positions and mask one causal pass."""
        rows, width = ids.shape
        past = self.empty(rows) if past is None else past
        if position is None:
            position = np.broadcast_to(np.arange(width), ids.shape)
        if mask is None:
            mask = np.broadcast_to(np.tri(width, dtype=bool), (rows, 1, width, width))
        feeds = {"ids": ids, "position": position, "mask": mask} | dict(zip(self.past, past.arrays, strict=True))
        hidden, *past.arrays = self.session.run(None, {key: np.ascontiguousarray(v) for key, v in feeds.items()})
        return hidden, past

    def empty(self, rows: int) -> GraphPast:
        return GraphPast([np.zeros((rows, heads, 0, width), np.float32) for heads, width in self.past.values()])


def open_session(path: Path) -> InferenceSession:
    """As many threads as OMP_NUM_THREADS says, which do not spin while they wait."""
    try:
        import onnxruntime as ort
    except ImportError:
        raise ConfigError(f"backend onnx needs ONNX Runtime, which is not installed; {INSTALL}") from None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of its own that it does not export
        raise ArtifactError(f"{path} cannot be loaded: {first_line(error)}; get its files again") from None
