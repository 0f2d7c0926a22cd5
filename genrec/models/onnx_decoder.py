"""An exported graph for the searches in torch: whatever ranks by `read_tokens` ranks by it, exact ranking for one.

B rows, S tokens that a pass reads, P tokens read before, d width, V vocabulary
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

from genrec.artifacts import HEAD
from genrec.config import Evaluation
from genrec.data.shop import Shop
from genrec.models.card import Card, load_own_texts
from genrec.models.exported import GRAPHS, check_backend, load_export
from genrec.models.generative import GenerativeModel, GenerativeRecommender, make_decoding
from genrec.models.onnx_graph import Graph, GraphPast
from genrec.models.passes import Past


class TensorPast(GraphPast):
    """A graph's past whose rows are chosen by a tensor."""

    def batch_select_indices(self, indices: Tensor | np.ndarray) -> None:
        super().batch_select_indices(np.asarray(indices))


class OnnxDecoder:
    """A Runtime over a graph; the output layer is torch's, in float32."""

    def __init__(self, graph: Graph, head: np.ndarray, config: PretrainedConfig):
        self.graph = graph
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.config = config
        self.head = nn.Linear(*head.shape[::-1], bias=False, device="meta").requires_grad_(False)
        self.head.weight = nn.Parameter(torch.from_numpy(head), requires_grad=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def eval(self) -> OnnxDecoder:
        """A graph is what it is."""
        return self

    def read(
        self, ids: Tensor, position: Tensor | None, mask: Tensor | None, past: Past | None
    ) -> tuple[Tensor, TensorPast]:
        arrays = [None if given is None else given.numpy() for given in (ids, position, mask)]
        held = TensorPast(self.graph.empty(len(ids)).arrays) if past is None else past
        assert isinstance(held, TensorPast), "a graph goes on from its own past"
        hidden, _ = self.graph.read(*arrays, held)
        return torch.from_numpy(hidden), held


def load_searched(
    directory: Path, card: Card, shop: Shop, settings: Evaluation, backend: str, exact: bool
) -> GenerativeRecommender:
    """An export's directory, whose card's files were checked -> what searches in torch by one of its graphs."""
    export = load_export(directory)
    check_backend(directory, export, backend)
    head = np.load(directory / HEAD, allow_pickle=False)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    decoder = OnnxDecoder(Graph(directory / GRAPHS[backend], export.model), head, config)
    texts = load_own_texts(directory, card, shop)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    model = GenerativeModel(decoder, tokenizer, texts, card.cutoff_len)
    return GenerativeRecommender(model, make_decoding(settings, exact))
