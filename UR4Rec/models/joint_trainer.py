"""Training of UR4Rec in four stages, each of which says what learns and from which losses.

    pretrain_sasrec      SASRec                        from its own loss
    pretrain_retriever   the retriever                 from its own loss and the auxiliary terms
    joint_finetune       gate + one module at a time   from that module's loss and the fused one; the modules alternate
    end_to_end           everything                    from all losses

B rows, T positions, P predicted positions, V ids (0 = padding), n negatives, d width
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrec.errors import ArtifactError, first_line
from genrec.launch import note
from genrec.runtime.curves import scalar_log
from genrec.runtime.epochs import HEADER, LearnerState
from genrec.runtime.tensor_file import pack_state, read_state, unpack_state, write_tensors
from UR4Rec.data.batches import Batch, EpochLoader
from UR4Rec.device import find_device
from UR4Rec.evaluation import candidate_ranks, full_ranks, rank_metrics
from UR4Rec.models.retriever import Query
from UR4Rec.models.retriever_moe import load_balance_loss
from UR4Rec.models.training_strategies import (
    AdaptiveAlternatingTrainer,
    BidirectionalKnowledgeDistillation,
    CurriculumWeightScheduler,
    FixedAlternation,
    MemoryBankContrastiveLoss,
    UncertaintyWeighting,
)
from UR4Rec.models.ur4rec_v2 import SCORERS, HistoryStates, UR4RecV2

# stage -> (what learns, whose next-item losses are taken); joint_finetune takes one module of each at a time
STAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pretrain_sasrec": (("sasrec",), ("sasrec",)),
    "pretrain_retriever": (("retriever",), ("retriever",)),
    "joint_finetune": (("sasrec", "retriever", "fusion"), SCORERS),
    "end_to_end": (("sasrec", "retriever", "fusion"), SCORERS),
}
FINETUNED = ("joint_finetune", "end_to_end")
SCORER_OF = {"pretrain_sasrec": "sasrec", "pretrain_retriever": "retriever"}  # whose scores judge a stage, else fused

RUN = 512  # positions scored at once
CURRICULUM_EPOCHS = 4.0  # of the retriever, after which every auxiliary term has its full weight


class JointTrainer:
    def __init__(
        self,
        model: UR4RecV2,
        device: str | torch.device = "cpu",
        sasrec_lr: float = 1e-3,
        retriever_lr: float = 1e-4,
        use_adaptive_alternating: bool = True,
        use_curriculum_learning: bool = False,
        use_memory_bank: bool = False,
        use_knowledge_distillation: bool = False,
        adaptive_switch_threshold: float = 0.01,
        adaptive_min_steps: int = 5,
        memory_bank_size: int = 65536,
        kd_temperature: float = 4.0,
        kd_weight: float = 0.1,
        adaptive_window: int = 10,
        use_uncertainty_weighting: bool = False,
        loss: str = "softmax",
        finetune_rate: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        memory_bank_weight: float = 0.1,
        balance_weight: float = 0.01,
        curriculum_steps: int | None = None,
        curriculum_warmup_steps: int | None = None,
        tracker: str = "none",
        log_dir: Path | str = "outputs/ur4rec/logs",
        seed: int = 42,
    ):
        """`loss` is softmax over the whole catalogue, or bpr against the rows' negatives.

        In joint_finetune and end_to_end both modules learn at `finetune_rate` times their rates; what was trained
        before overfits at the full ones. Without `use_adaptive_alternating` the modules take turns step by step. The
        curriculum counts the steps in which the retriever learns: `curriculum_steps` of them, by default those of its
        first CURRICULUM_EPOCHS epochs, of which a tenth is warm-up.
        """
        if loss not in LOSSES:
            raise ValueError(f"no loss '{loss}'; there are: {', '.join(LOSSES)}")
        self.device, self.seed = find_device(device), seed
        self.model = model.to(self.device)
        self.loss_of, self.max_grad_norm = LOSSES[loss], max_grad_norm
        self.adaptive_alternating = (
            AdaptiveAlternatingTrainer(adaptive_window, adaptive_switch_threshold, adaptive_min_steps)
            if use_adaptive_alternating
            else FixedAlternation()
        )
        self.use_curriculum, self.curriculum_epochs = use_curriculum_learning, CURRICULUM_EPOCHS
        self.curriculum_steps, self.curriculum_warmup_steps = curriculum_steps, curriculum_warmup_steps
        dim = model.retriever.dim
        self.contrastive = MemoryBankContrastiveLoss(dim, 0).to(self.device)
        self.memory_bank = MemoryBankContrastiveLoss(dim, memory_bank_size).to(self.device) if use_memory_bank else None
        self.distillation = BidirectionalKnowledgeDistillation(kd_temperature) if use_knowledge_distillation else None
        self.uncertainty = UncertaintyWeighting(SCORERS).to(self.device) if use_uncertainty_weighting else None
        self.kd_weight, self.memory_bank_weight, self.balance_weight = kd_weight, memory_bank_weight, balance_weight
        self.rates = {"sasrec": sasrec_lr, "retriever": retriever_lr, "fusion": retriever_lr}
        self.finetune_rate = finetune_rate
        self.weight_decay = weight_decay
        self.optimizers = self.make_optimizers(weight_decay)
        self.log = scalar_log(tracker, Path(log_dir), "ur4rec")
        self.global_step = self.retriever_steps = 0
        self.curriculum = self.plan_curriculum(0) if use_curriculum_learning and curriculum_steps else None
        if not model.awaits_content:
            note("ur4rec", model.describe())
        self.set_training_stage("pretrain_sasrec")

    def make_optimizers(self, weight_decay: float) -> dict[str, torch.optim.AdamW]:
        """One for each module; the gate's has the uncertainty weights beside it."""
        parameters = {name: list(getattr(self.model, name).parameters()) for name in self.rates}
        parameters["fusion"] += self.uncertainty.parameters() if self.uncertainty else []
        return {
            name: torch.optim.AdamW(parameters[name], rate, weight_decay=weight_decay)
            for name, rate in self.rates.items()
        }

    def read_content(self, loader: Any) -> None:
        """Give a model that was built without features what the collection of its first loader has; once.

        `load_checkpoint` of a run that had it wants the same before.
        """
        if not self.model.awaits_content or not isinstance(loader, EpochLoader) or loader.source is None:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.model.take_content(loader.source.content)
        fresh = self.make_optimizers(self.weight_decay)
        self.optimizers |= {name: fresh[name] for name in ("retriever", "fusion")}
        self.begin_stage()
        note("ur4rec", self.model.describe())

    def batches_of(self, train_loader: Any) -> Any:
        """What an epoch goes through: windows, whose positions all learn, where the loss needs no row's negatives."""
        takes_windows = isinstance(train_loader, EpochLoader) and self.loss_of is softmax_loss
        return train_loader.windowed() if takes_windows else train_loader

    def plan_curriculum(self, steps_an_epoch: int) -> CurriculumWeightScheduler:
        """Its length in steps follows the epochs, where no number was given."""
        total = self.curriculum_steps or max(1, round(self.curriculum_epochs * steps_an_epoch))
        warmup = self.curriculum_warmup_steps
        return CurriculumWeightScheduler(total, total // 10 if warmup is None else warmup)

    # What learns

    def set_training_stage(self, stage: str) -> None:
        """Begin a stage: from now on exactly what it names has gradients."""
        if stage not in STAGES:
            raise ValueError(f"no stage '{stage}'; there are: {', '.join(STAGES)}")
        self.stage = stage
        self.adaptive_alternating.reset()
        self.begin_stage()

    def begin_stage(self) -> None:
        """Gradients and rates of the present stage."""
        self.let_learn(self.learning())
        for name, optimizer in self.optimizers.items():
            finer = self.stage in FINETUNED and name != "fusion"
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * (self.finetune_rate if finer else 1.0)

    def learning(self) -> tuple[str, ...]:
        """The modules that learn in the next step."""
        if self.stage == "joint_finetune":
            return self.adaptive_alternating.current_module, "fusion"
        return STAGES[self.stage][0]

    def let_learn(self, names: tuple[str, ...]) -> None:
        for name in self.optimizers:
            getattr(self.model, name).requires_grad_(name in names)

    # Steps

    def train_epoch(self, train_loader, epoch: int) -> dict[str, float]:
        """One pass, in an order and with dropout that seed and epoch decide; mean of every loss over its steps.

        `total_loss` means the same in every stage: that of the next item, by the scores that the stage is judged by.
        `objective_loss` is the sum whose gradient was taken, which has other terms in each.
        """
        self.read_content(train_loader)
        train_loader = self.batches_of(train_loader)
        torch.manual_seed((self.seed << 20) + epoch)
        if isinstance(train_loader, EpochLoader):
            train_loader.set_epoch(epoch)
        self.model.train()
        self.curriculum = self.plan_curriculum(len(train_loader)) if self.use_curriculum else None
        steps = [self.train_step(batch) for batch in train_loader]
        if not steps:
            raise ValueError("the train loader gave no batch")
        names = dict.fromkeys(name for step in steps for name in step)  # not every step has every loss
        metrics = {name: float(np.mean([step[name] for step in steps if name in step])) for name in names}
        self.log({f"{self.stage}/{name}": value for name, value in metrics.items()}, self.global_step)
        return metrics

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One batch; every loss as a number, `objective_loss` the one whose gradient was taken."""
        learning = self.learning()
        self.let_learn(learning)
        losses, total = self.losses(self.to_device(batch), learning)
        if not torch.isfinite(total):
            raise ArtifactError(
                f"step {self.global_step} of {self.stage}: the losses are {numbers(losses)}; lower the learning rates"
            )
        self.update(total, learning)
        self.global_step += 1
        self.retriever_steps += "retriever" in learning
        judged = losses[f"{SCORER_OF.get(self.stage, 'fused')}_loss"]
        metrics = numbers({**losses, "objective_loss": total, "total_loss": judged})
        if self.stage == "joint_finetune":
            module = self.adaptive_alternating.current_module
            self.adaptive_alternating.step(metrics[f"{module}_loss"])
        return metrics

    def update(self, total: Tensor, learning: tuple[str, ...]) -> None:
        chosen = [self.optimizers[name] for name in learning]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        total.backward()
        parameters = [p for optimizer in chosen for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        for optimizer in chosen:
            optimizer.step()

    # Losses

    def losses(self, batch: Batch, learning: tuple[str, ...]) -> tuple[dict[str, Tensor], Tensor]:
        """Every loss of the stage by name, and the sum that is learned from."""
        scorers = STAGES[self.stage][1]
        chosen, targets = predicted_positions(batch)
        history = batch["input_seq"], chosen, batch.get("user_index"), batch.get("history_length")
        states = self.model.encode(*history, scorers)
        losses = self.next_item_losses(states, scorers, targets, batch["negative_items"][chosen.nonzero()[:, 0]])
        summands = {name: losses[name] for name in scorers if name == "fused" or name in learning}
        total = self.uncertainty(summands) if self.uncertainty and len(summands) > 1 else sum(summands.values())
        if "distillation" in losses:
            total = total + self.kd_weight * losses["distillation"]
        extra = self.retriever_losses(states.query, chosen, targets) if "retriever" in learning else {}
        total = total + sum(weight * loss for weight, loss in extra.values())
        losses |= {name: loss for name, (_, loss) in extra.items()}
        return {f"{name}_loss": loss for name, loss in losses.items()}, total

    def next_item_losses(
        self, states: HistoryStates, scorers: tuple[str, ...], targets: Tensor, negatives: Tensor
    ) -> dict[str, Tensor]:
        """Means over positions, taken in runs whose scores (RUN, V) stay in the cache: a third of the time on a CPU."""
        table = None if states.query is None else self.model.retriever.table()
        sums: dict[str, Tensor] = {}
        for number, run in enumerate(states.split(RUN)):
            rows = slice(number * RUN, (number + 1) * RUN)
            scores = self.model.score(run, scorers, table)
            losses = {name: self.loss_of(getattr(scores, name), targets[rows], negatives[rows]) for name in scorers}
            if self.distillation and "fused" in scorers:
                losses["distillation"] = self.distillation(scores.sasrec, scores.retriever)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss * len(targets[rows])
        return {name: total / len(targets) for name, total in sums.items()}

    def retriever_losses(self, query: Query, chosen: Tensor, targets: Tensor) -> dict[str, tuple[float, Tensor]]:
        """name -> (weight, loss) of what the retriever learns beside the next item."""
        extra: dict[str, tuple[float, Tensor]] = {}
        if query.weight.shape[-1] > 1:
            extra["balance"] = self.balance_weight, load_balance_loss(query)
        if self.use_curriculum and self.curriculum is None:
            raise ValueError("steps without train_epoch do not tell the curriculum's length; give curriculum_steps")
        if not self.curriculum and not self.memory_bank:
            return extra
        last = chosen.sum(dim=1).cumsum(dim=0) - 1  # (B,) each row's last predicted position
        query, ids = query.at(last), targets[last]
        users, items = self.model.retriever.user_vector(query), self.model.retriever.item_vectors(ids)
        if self.memory_bank:
            extra["memory_bank"] = self.memory_bank_weight, self.memory_bank(users, items, ids)
        if self.curriculum:
            weights = self.curriculum.weights(self.retriever_steps)
            terms = {
                "consistency": self.model.retriever.disagreement(ids),
                "contrastive": self.contrastive(users, items, ids),
                "diversity": crowding(items),
            }
            extra |= {name: (weights[name], term) for name, term in terms.items()}
        return extra

    # Evaluation

    @torch.no_grad()
    def evaluate(
        self, loader: EpochLoader, scorer: str = "fused", protocol: str = "full", exclude_seen: bool = True
    ) -> dict[str, float]:
        """hit@k and ndcg@k (5, 10, 20), mrr, avg_rank; rank 1 is the best, ties count against the model.

        `protocol` full ranks the whole catalogue without the user's past (with it, if not exclude_seen), candidates
        ranks the target among 99 random items, whose numbers are far higher; a line says which. `scorer` is fused,
        sasrec or retriever.
        """
        metrics = self.measure(loader, scorer, protocol, exclude_seen)
        note("ur4rec", describe_protocol(loader, scorer, protocol, exclude_seen))
        return metrics

    def measure(
        self, loader: EpochLoader, scorer: str = "fused", protocol: str = "full", exclude_seen: bool = True
    ) -> dict[str, float]:
        """`evaluate` without its line."""
        if protocol not in ("full", "candidates"):
            raise ValueError(f"no protocol '{protocol}'; there are: full, candidates")
        self.read_content(loader)
        ranks, compared = [], 0
        for batch in loader:
            scores = self.score(batch, scorer)  # (B, V)
            if protocol == "full":
                compared = scores.shape[1] - 1
                ranks.append(full_ranks(scores, batch, loader.dataset.seen if exclude_seen else None))
            else:
                compared = batch["candidate_items"].shape[1]
                ranks.append(candidate_ranks(scores.gather(1, batch["candidate_items"]).numpy()))
        return rank_metrics(np.concatenate(ranks), compared)

    @torch.no_grad()
    def score(self, batch: Batch, scorer: str = "fused") -> Tensor:
        """Log-probabilities of what comes next, (B, V) on the CPU."""
        self.model.eval()
        here = self.to_device(batch)
        last = torch.zeros_like(here["input_seq"], dtype=torch.bool)
        last[:, -1] = True
        history = here["input_seq"], last, here.get("user_index"), here.get("history_length")
        states = self.model.encode(*history, (scorer,))
        return getattr(self.model.score(states, (scorer,)), scorer).float().cpu()

    def to_device(self, batch: Batch) -> Batch:
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in batch.items()}

    # State

    def state(self) -> LearnerState:
        """Weights, moments, memory bank and counters: all that the coming epochs depend on."""
        counters = {
            "stage": self.stage,
            "global_step": self.global_step,
            "retriever_steps": self.retriever_steps,
            "alternation": self.adaptive_alternating.state_dict(),
        }
        return LearnerState(pack_state(self.modules(), self.named_optimizers()), counters)

    def load_state(self, state: LearnerState) -> None:
        """Go on from a state of a trainer with the same settings."""
        try:
            unpack_state(state.tensors, self.modules(), self.named_optimizers())
        except (RuntimeError, KeyError) as error:
            raise ArtifactError(f"the state was saved by a trainer with other settings: {first_line(error)}") from None
        counters = state.counters
        self.stage, self.global_step = counters["stage"], counters["global_step"]
        self.retriever_steps = counters["retriever_steps"]
        self.adaptive_alternating.load_state_dict(counters["alternation"])
        self.begin_stage()

    def save_checkpoint(self, path: Path | str, **progress: Any) -> None:
        """A run that loads it goes on as if it had never stopped."""
        tensors, counters = self.state()
        write_tensors(Path(path), tensors, HEADER, {"progress": progress, "counters": counters})

    def load_checkpoint(self, path: Path | str) -> dict[str, Any]:
        """Fill this trainer; returns what was kept as progress."""
        tensors, header = read_state(Path(path), HEADER)
        try:
            self.load_state(LearnerState(tensors, header["counters"]))
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from None
        return header["progress"]

    def modules(self) -> dict[str, nn.Module]:
        """Whatever has tensors that learning changes, beside the optimizers."""
        modules = {"model": self.model, "memory_bank": self.memory_bank, "uncertainty": self.uncertainty}
        return {name: module for name, module in modules.items() if module is not None}

    def named_optimizers(self) -> dict[str, torch.optim.AdamW]:
        return {f"optimizer.{name}": optimizer for name, optimizer in self.optimizers.items()}


def describe_protocol(loader: EpochLoader, scorer: str, protocol: str, exclude_seen: bool) -> str:
    """What the numbers of `evaluate` are of, in a line."""
    dataset = loader.dataset
    if protocol == "candidates":
        where = f"among {dataset.settings.num_candidates} candidates, comparable with nothing else"
    else:
        where = f"among all {dataset.num_items:,} items, {'without' if exclude_seen else 'with'} the user's past"
    return f"{scorer} scores on {len(dataset):,} {dataset.split} rows: the target's rank {where}"


def predicted_positions(batch: Batch) -> tuple[Tensor, Tensor]:
    """Which positions are predicted, (B, T) bool, and their targets (P,): all with windows, else the last of a row."""
    if "target_seq" in batch:
        chosen = batch["target_seq"] > 0
        return chosen, batch["target_seq"][chosen]
    chosen = torch.zeros_like(batch["input_seq"], dtype=torch.bool)
    chosen[:, -1] = True
    return chosen, batch["target_items"]


def softmax_loss(scores: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """-log p(target) over the whole catalogue; log-probabilities (P, V), (P,) -> ()."""
    return F.nll_loss(scores, targets)


def bpr_loss(scores: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """-log sigmoid(s_target - s_negative), mean over negatives (arXiv 1205.2618); (P, V), (P,), (P, n) -> ()."""
    return -F.logsigmoid(scores.gather(1, targets[:, None]) - scores.gather(1, negatives)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"softmax": softmax_loss, "bpr": bpr_loss}


def crowding(vectors: Tensor) -> Tensor:
    """Mean cosine between different rows; vectors of length 1 (B, d) -> (), 0 for a single row."""
    together = vectors @ vectors.T
    pairs = len(vectors) * (len(vectors) - 1)
    return (together.sum() - together.diagonal().sum()) / max(pairs, 1)


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in losses.items()}
