import pytest
import torch

from genrec.models.backbone import Backbone, BackboneShape, rotate


def make(**knobs):
    torch.manual_seed(0)
    return Backbone(BackboneShape(16, 2, 2, 0.0, **knobs)).eval()


@pytest.mark.parametrize("knobs", [{}, {"norm_first": False}, {"rotary": True}], ids=["pre", "post", "rotary"])
class TestPadding:
    def test_left_padding_changes_no_state(self, knobs):
        backbone, x = make(**knobs), torch.randn(3, 5, 16)
        padded = torch.cat([torch.randn(3, 2, 16), x], dim=1)
        real = torch.tensor([[False] * 2 + [True] * 5] * 3)
        assert torch.allclose(backbone(padded, real)[:, 2:], backbone(x), atol=1e-5)

    def test_the_future_is_not_seen(self, knobs):
        backbone, x = make(**knobs), torch.randn(2, 6, 16)
        changed = x.clone()
        changed[:, 4:] += 1
        assert torch.allclose(backbone(changed)[:, :4], backbone(x)[:, :4], atol=1e-6)

    def test_all_padding_is_finite(self, knobs):
        assert make(**knobs)(torch.randn(1, 4, 16), torch.zeros(1, 4, dtype=torch.bool)).isfinite().all()


def test_checkpointing_changes_memory_not_gradients():
    gradients = []
    for switch in (False, True):
        backbone = make(gradient_checkpointing=switch).train()
        torch.manual_seed(1)
        backbone(torch.randn(2, 4, 16)).square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_rotated_products_depend_on_distance_alone():
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = rotate(q.expand(1, 1, 6, 8))[0, 0], rotate(k.expand(1, 1, 6, 8))[0, 0]
    assert torch.allclose(turned_q[5] @ turned_k[3], turned_q[2] @ turned_k[0], atol=1e-5)


def test_width_must_fit_the_heads():
    with pytest.raises(ValueError, match="hidden_size 10 is not a multiple of num_heads 4"):
        BackboneShape(10, 1, 4, 0.0)
