"""Adaptive against fixed alternation on real data, end to end: the same pretrained parts, the same number of epochs.

reads   MovieLens-100K as UR4Rec/data/dataset_loader.py does

    python test_adaptive_training.py                     # small dimensions, some minutes on a CPU
    python test_adaptive_training.py --epochs 2 --pretrain_epochs 2 --data_dir DIR

The measured comparison, with seeds and intervals, is benchmarks/ur4rec.py.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path


def main() -> None:
    from genrec.errors import exit_on_failure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of the files, as UR4Rec/data/dataset_loader.py takes it")
    parser.add_argument("--pretrain_epochs", type=int, default=8, help="of each part alone (default 8)")
    parser.add_argument("--epochs", type=int, default=4, help="of both in turns, by each rule (default 4)")
    parser.add_argument("--dim", type=int, default=64, help="width of both parts (default 64)")
    parser.add_argument("--device", default="cpu", help="cpu | cuda (default cpu)")
    options = parser.parse_args()
    with exit_on_failure(options.data_dir or Path(".")):
        run(options)


def run(options: argparse.Namespace) -> None:
    import torch

    from UR4Rec.data.dataset_loader import load_ml_100k
    from UR4Rec.data.multimodal_dataset import create_dataloaders
    from UR4Rec.models.joint_trainer import JointTrainer
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    item_metadata, user_sequences, _ = load_ml_100k(options.data_dir)
    train_loader, val_loader, test_loader = create_dataloaders(user_sequences, item_metadata, windows=True)
    torch.manual_seed(42)
    shape = {"sasrec_hidden_dim": options.dim, "retriever_output_dim": options.dim, "sasrec_num_heads": 2}
    model = UR4RecV2(len(item_metadata) + 1, device=options.device, **shape)
    trainer = JointTrainer(model, options.device, sasrec_lr=2e-3, retriever_lr=1e-3)
    epochs = iter(range(1000))
    for stage in ("pretrain_sasrec", "pretrain_retriever"):
        trainer.set_training_stage(stage)
        for _ in range(options.pretrain_epochs):
            print(f"{stage}: loss {trainer.train_epoch(train_loader, next(epochs))['total_loss']:.4f}", flush=True)
    for name, adaptive in (("adaptive", True), ("fixed", False)):
        joint = JointTrainer(
            copy.deepcopy(model), options.device, sasrec_lr=2e-3, retriever_lr=1e-3, use_adaptive_alternating=adaptive
        )
        joint.set_training_stage("joint_finetune")
        for epoch in range(options.epochs):
            loss = joint.train_epoch(train_loader, epoch)["fused_loss"]
            print(f"{name}: fused loss {loss:.4f} after {joint.global_step} steps", flush=True)
        stats, valid, test = (
            joint.adaptive_alternating.get_stats(),
            joint.evaluate(val_loader),
            joint.evaluate(test_loader),
        )
        print(
            f"{name}: {stats['switch_count']} switches, {stats['sasrec_ratio']:.0%} of the steps SASRec's, "
            f"NDCG@10 {valid['ndcg@10']:.4f} on valid, {test['ndcg@10']:.4f} on test"
        )


if __name__ == "__main__":
    main()
