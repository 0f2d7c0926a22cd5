"""How SASRec and the retriever are trained together: who learns when, and what they learn beside the next item.

B examples, V ids, Q rows of the memory bank, d width
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODULES = ("sasrec", "retriever")


class Alternation:
    """Whose turn it is to learn, and the count of it; subclasses say when a turn is over."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self.current_module = MODULES[0]
        self.steps = dict.fromkeys(MODULES, 0)
        self.last_loss: dict[str, float] = {}
        self.switch_count = 0
        self.turn: list[float] = []  # losses of this turn

    def over(self) -> bool:
        raise NotImplementedError

    def step(self, loss: float) -> str:
        """Take the loss of the module that has just learned; return the module that learns next."""
        self.turn.append(loss)
        self.last_loss[self.current_module] = loss
        self.steps[self.current_module] += 1
        if self.over():
            self.current_module = MODULES[1 - MODULES.index(self.current_module)]
            self.switch_count += 1
            self.turn = []
        return self.current_module

    def get_stats(self) -> dict[str, Any]:
        total = sum(self.steps.values())
        return {
            "total_steps": total,
            "current_module": self.current_module,
            "steps_since_switch": len(self.turn),
            "switch_count": self.switch_count,
            **{f"{name}_steps": count for name, count in self.steps.items()},
            **{f"{name}_ratio": count / total if total else 0.0 for name, count in self.steps.items()},
            **{f"{name}_loss": loss for name, loss in self.last_loss.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        kept = ("current_module", "steps", "last_loss", "switch_count", "turn")
        return {name: copy.copy(getattr(self, name)) for name in kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(copy.deepcopy(state))


class AdaptiveAlternatingTrainer(Alternation):
    """One module learns until its loss stands still, then the other.

    After `min_steps` steps the turn's last `window` losses are cut into halves, whose means m1 and m2 give the rate
    (m1 - m2) / |m1|. Below `threshold` the turn is over; so a larger threshold switches more often.
    """

    def __init__(self, window: int = 10, threshold: float = 0.01, min_steps: int = 5):
        if window < 2 or min_steps < 2:
            raise ValueError(f"window is {window} and min_steps {min_steps}; a rate of change needs at least 2 losses")
        super().__init__()
        self.window, self.threshold, self.min_steps = window, threshold, min_steps

    def over(self) -> bool:
        return len(self.turn) >= self.min_steps and self.rate() < self.threshold

    def rate(self) -> float:
        """Relative fall of the loss between the halves of the window; negative when it rises."""
        losses = self.turn[-self.window :]
        half = len(losses) // 2
        before, after = sum(losses[:half]) / half, sum(losses[-half:]) / half
        return (before - after) / max(abs(before), 1e-12)


class FixedAlternation(Alternation):
    """Turns of equal length, whatever the losses say: what adaptive alternation is held against."""

    def __init__(self, length: int = 1):
        super().__init__()
        self.length = length

    def over(self) -> bool:
        return len(self.turn) >= self.length


# Auxiliary term -> (begins, ends its rise, largest weight), the first two as shares of the steps after the warm-up.
CURRICULUM = {
    "consistency": (0.0, 0.3, 0.1),
    "contrastive": (0.3, 0.6, 0.2),
    "diversity": (0.6, 1.0, 0.05),
}


@dataclass(frozen=True)
class CurriculumWeightScheduler:
    """Weights of the retriever's auxiliary terms: none in the warm-up, then one after another rises to its maximum."""

    total_steps: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.total_steps < 1 or self.warmup_steps < 0:
            raise ValueError(f"total_steps is {self.total_steps} and warmup_steps {self.warmup_steps}")

    def weights(self, step: int) -> dict[str, float]:
        """At a step, 0-based; a schedule that is all warm-up, or is over, is at an end of each rise."""
        after = self.total_steps - self.warmup_steps
        if step < self.warmup_steps or after <= 0:
            return dict.fromkeys(CURRICULUM, 0.0)
        done = min((step - self.warmup_steps) / after, 1.0)
        return {name: top * ramp(done, begin, end) for name, (begin, end, top) in CURRICULUM.items()}


def ramp(done: float, begin: float, end: float) -> float:
    """0 before `begin`, 1 after `end`, straight between."""
    return min(max((done - begin) / (end - begin), 0.0), 1.0)


class MemoryBankContrastiveLoss(nn.Module):
    """Symmetric InfoNCE between users and their items, with the last pairs of earlier steps as further negatives.

        mean of -log( e^{u_i y_i / t} / (e^{u_i y_i / t} + sum_j e^{u_i y_j / t}) ),  and the same with roles swapped

    over negatives j of the batch and of the bank whose item is another one than i's: neither the positive itself nor
    the same item at another place is a negative. The bank begins empty; with size 0 it stays so.
    (MoCo, arXiv 1911.05722; InfoNCE, arXiv 1807.03748)
    """

    def __init__(self, dim: int, size: int = 65536, temperature: float = 0.07):
        super().__init__()
        self.size, self.temperature = size, temperature
        self.register_buffer("users", torch.zeros(0, dim))  # (Q, d), the newest last
        self.register_buffer("targets", torch.zeros(0, dim))  # (Q, d)
        self.register_buffer("ids", torch.zeros(0, dtype=torch.long))  # (Q,)

    def forward(self, users: Tensor, targets: Tensor, ids: Tensor) -> Tensor:
        """Vectors of length 1 (B, d), (B, d) and the items' ids (B,) -> mean loss (); the pairs then join the bank."""
        positive = (users * targets).sum(dim=-1, keepdim=True)  # (B, 1)
        allowed = ids[:, None] != torch.cat([ids, self.ids])  # (B, B + Q)
        one = self.one_way(positive, users @ torch.cat([targets, self.targets]).T, allowed)
        other = self.one_way(positive, targets @ torch.cat([users, self.users]).T, allowed)
        self.remember(users.detach(), targets.detach(), ids)
        return (one + other) / 2

    def one_way(self, positive: Tensor, negative: Tensor, allowed: Tensor) -> Tensor:
        logits = torch.cat([positive, negative.masked_fill(~allowed, -torch.inf)], dim=1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

    def remember(self, users: Tensor, targets: Tensor, ids: Tensor) -> None:
        begin = max(len(self.ids) + len(ids) - self.size, 0)
        self.users = torch.cat([self.users, users])[begin:]
        self.targets = torch.cat([self.targets, targets])[begin:]
        self.ids = torch.cat([self.ids, ids])[begin:]

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        """A bank is as long as it was when it was saved."""
        for name in ("users", "targets", "ids"):
            setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.users.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class BidirectionalKnowledgeDistillation(nn.Module):
    """Each of the two learns from the other's distribution over the catalogue, which itself is held still.

    T^2 / 2 * (KL(retriever || sasrec) + KL(sasrec || retriever)), softened by the temperature T (arXiv 1503.02531).
    """

    def __init__(self, temperature: float = 4.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, sasrec: Tensor, retriever: Tensor) -> Tensor:
        """Log-probabilities or scores (B, V) twice -> ()."""
        one, other = ((scores / self.temperature).log_softmax(dim=-1) for scores in (sasrec, retriever))
        loss = divergence(other.detach(), one) + divergence(one.detach(), other)
        return self.temperature**2 / 2 * loss


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities, mean over rows."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


class UncertaintyWeighting(nn.Module):
    """sum_i e^{-s_i} L_i + s_i, s_i learned (arXiv 1705.07115); all s begin at 0, which is the plain sum."""

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: dict[str, Tensor]) -> Tensor:
        return sum(torch.exp(-self.log_variance[n]) * loss + self.log_variance[n] for n, loss in losses.items())
