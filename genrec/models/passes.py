"""The decoder's two passes behind one seam: the prompts, and tokens of a tree that hangs from them.

B rows, S tokens that a pass reads, P tokens read before, d width

    hidden, past = read_tokens(model, ids)                          the prompts, each padded on the right
    hidden, past = read_tokens(model, ids, position, mask, past)    tokens that see what `mask` says

Trie, scores and top-k stand outside. A model of transformers is read by torch in its own dtype; what else is a Runtime
reads by its own means.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel


class Past(Protocol):
    """Keys and values of the tokens read so far; a pass adds those of its own tokens in place."""

    def crop(self, length: int, /) -> None:
        """Drop the last -length tokens."""
        ...

    def batch_select_indices(self, indices: Tensor, /) -> None:
        """Keep these rows."""
        ...


class Runtime(Protocol):
    """A decoder that another library runs."""

    device: torch.device
    dtype: torch.dtype
    config: Any

    def get_output_embeddings(self) -> nn.Module: ...

    def eval(self) -> Any: ...

    def read(
        self, ids: Tensor, position: Tensor | None, mask: Tensor | None, past: Past | None
    ) -> tuple[Tensor, Past]: ...


def read_tokens(
    model: PreTrainedModel | Runtime,
    ids: Tensor,
    position: Tensor | None = None,
    mask: Tensor | None = None,
    past: Past | None = None,
) -> tuple[Tensor, Past]:
    """Ids (B, S), positions (B, S), mask (B, 1, S, P + S) bool, past of P tokens -> hidden (B, S, d), past of P + S.

    Without positions and mask it is one causal pass from the beginning.
    """
    if not isinstance(model, nn.Module):
        return model.read(ids, position, mask, past)
    past = DynamicCache(config=model.config) if past is None else past
    answer = model.get_decoder()(
        input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=past, use_cache=True
    )
    return answer.last_hidden_state, past
