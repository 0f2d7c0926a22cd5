"""R-Drop's distance against torch's own divergence of categorical distributions."""

import torch

from genrec.training.divergence import symmetric_divergence


def test_divergence_is_the_symmetric_kl_of_the_legal_tokens():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 10)
    legal = torch.rand(3, 10) < 0.5
    legal[:, 0] = True
    kl = torch.distributions.kl_divergence
    rows = []
    for a, b, mask in zip(first, second, legal, strict=True):
        p, q = (torch.distributions.Categorical(logits=row[mask]) for row in (a, b))
        rows.append((kl(p, q) + kl(q, p)) / 2)
    torch.testing.assert_close(symmetric_divergence(first, second, legal), torch.stack(rows))
    assert not symmetric_divergence(first, first, legal).any()
