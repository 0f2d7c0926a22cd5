"""The module of the learned quantizers: straight-through codes, and its parts."""

import torch

from genrec.quantizers.rqvae import balance_by_sinkhorn


def test_sinkhorn_gives_equal_rows_and_nearly_equal_columns():
    plan = balance_by_sinkhorn(torch.rand(60, 5, generator=torch.Generator().manual_seed(0)), eps=0.3).exp()
    assert torch.allclose(plan.sum(dim=1), torch.ones(60), atol=1e-5)
    assert torch.allclose(plan.sum(dim=0), torch.full((5,), 12.0), atol=0.01)
