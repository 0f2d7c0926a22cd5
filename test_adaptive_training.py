"""Adaptive against fixed alternation on real data, end to end: the same pretrained modules, the same number of epochs.

reads   MovieLens-100K as UR4Rec/data/dataset_loader.py does

    python test_adaptive_training.py                     # small dimensions, some minutes on a CPU
    python test_adaptive_training.py --num_epochs 2 --pretrain_epochs 2 --data_dir DIR

The measured comparison, with seeds and intervals, is benchmarks/ur4rec.py.
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

import copy
import itertools
from pathlib import Path

from genrec.cli import run_program
from genrec.config import Section, knob
from genrec.errors import exit_on_failure
from UR4Rec.options import read_options


class ComparisonOptions(Section):
    data_dir: Path | None = knob(None, "folder of the files, as UR4Rec/data/dataset_loader.py takes it")
    pretrain_epochs: int = knob(8, "of each module alone", ge=0, le=1_000_000)
    num_epochs: int = knob(4, "of both in turns, by each rule", ge=1, le=1_000_000, spellings=("epochs",))
    hidden_size: int = knob(64, "width of both modules", ge=2, le=65_536, multiple_of=2, spellings=("dim",))
    device: str = knob("cpu", "auto | cpu | cuda")


def main() -> None:
    options = read_options("test_adaptive_training.py", __doc__, ComparisonOptions)
    with exit_on_failure(options.data_dir or Path(".")):
        compare_rules(options)


def compare_rules(options: ComparisonOptions) -> None:
    import torch

    from UR4Rec.data.dataset_loader import load_ml_100k
    from UR4Rec.data.multimodal_dataset import create_dataloaders
    from UR4Rec.models.joint_trainer import JointTrainer
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    item_metadata, user_sequences, _ = load_ml_100k(options.data_dir)
    loaders = create_dataloaders(
        user_sequences, item_metadata, windows=True, encoder=None
    )  # ids alone: the rule counts
    train_loader, val_loader, test_loader = loaders
    torch.manual_seed(42)
    width = options.hidden_size
    shape = {"sasrec_hidden_dim": width, "retriever_output_dim": width, "sasrec_num_heads": 2}
    model = UR4RecV2(len(item_metadata) + 1, device=options.device, **shape)
    trainer = JointTrainer(model, options.device, sasrec_lr=2e-3, retriever_lr=1e-3)
    epochs = itertools.count()
    for stage in ("pretrain_sasrec", "pretrain_retriever"):
        trainer.set_training_stage(stage)
        for _ in range(options.pretrain_epochs):
            print(f"{stage}: loss {trainer.train_epoch(train_loader, next(epochs))['total_loss']:.4f}", flush=True)
    for name, adaptive in (("adaptive", True), ("fixed", False)):
        joint = JointTrainer(
            copy.deepcopy(model), options.device, sasrec_lr=2e-3, retriever_lr=1e-3, use_adaptive_alternating=adaptive
        )
        joint.set_training_stage("joint_finetune")
        for epoch in range(options.num_epochs):
            loss = joint.train_epoch(train_loader, epoch)["fused_loss"]
            print(f"{name}: fused loss {loss:.4f} after {joint.global_step} steps", flush=True)
        stats = joint.adaptive_alternating.get_stats()
        valid, test = joint.evaluate(val_loader), joint.evaluate(test_loader)
        print(
            f"{name}: {stats['switch_count']} switches, {stats['sasrec_ratio']:.0%} of the steps SASRec's, "
            f"NDCG@10 {valid['ndcg@10']:.4f} on valid, {test['ndcg@10']:.4f} on test"
        )


if __name__ == "__main__":
    run_program(__file__, main)
