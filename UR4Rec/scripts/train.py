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

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from pathlib import Path
from typing import TYPE_CHECKING

from genrec.artifacts import describe_files, read_json, remove_directories, sample_fingerprint, write_json
from genrec.cli import run_program
from genrec.errors import ArtifactError, ConfigError, exit_on_failure
from genrec.guard import differences, read_made, refusal
from genrec.launch import note
from genrec.lock import only_writer
from genrec.verify import verify_files
from UR4Rec.data.dataset_loader import ItemMetadata, MovieLensDataLoader, UserSequences
from UR4Rec.data.generated import USER_PREFERENCES
from UR4Rec.options import TrainOptions, acting_knobs, drop_unread, read_options

if TYPE_CHECKING:
    from UR4Rec.data.batches import EpochLoader
    from UR4Rec.data.features import ItemFeatures, Vectors
    from UR4Rec.models.joint_trainer import JointTrainer
    from UR4Rec.models.preferences import Preferences
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

STAGE_EPOCHS = ("pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end")  # --<stage>_epochs, in order
SWITCHES = ("curriculum_learning", "memory_bank", "knowledge_distillation", "uncertainty_weighting")
SETTINGS, TRAINING, CANDIDATES = "settings.json", "training.json", "candidates.json"
GIVEN_FILES = ("plots", "descriptions", "preferences", "images")  # flags that may name a file


def main() -> None:
    options = read_options("train.py", __doc__, TrainOptions)
    with exit_on_failure(options.output_dir), only_writer(options.output_dir):
        check_settings(options)
        if (options.output_dir / TRAINING).exists():
            check_files(options.output_dir)
            remove_working_files(options.output_dir)  # a kill may have come between the record and their removal
            note("ur4rec", "up to date")
        else:
            train(options)


def check_settings(options: TrainOptions) -> None:
    """A directory holds one run; other settings, or other files under the same names, want another directory."""
    path, asked = options.output_dir / SETTINGS, settings_of(options)
    if not path.exists():
        check_owner(options.output_dir)
        options.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
        return
    made = read_made(path)
    made["config"] = drop_unread(made["config"], options)  # older runs recorded what did not act, too
    if different := differences(made, asked):
        raise ArtifactError(refusal(options.output_dir, different, "--output_dir ANOTHER", "remove it"))


def check_owner(directory: Path) -> None:
    """What lies there was begun by a run that says with what, so that nobody else's state is gone on from."""
    from UR4Rec.models.stages import BEST, STAGE_RUNS

    names = [name for name in (TRAINING, STAGE_RUNS, BEST) if (directory / name).exists()]
    if names:
        raise ArtifactError(
            f"{directory} holds {' and '.join(names)}, but no {SETTINGS} that says what made them; "
            "pass --output_dir ANOTHER, or remove them"
        )


def check_files(directory: Path) -> None:
    """A finished training's files are those that its record has the hashes of."""
    record = read_json(directory / TRAINING)
    files = record.get("files", {}) if isinstance(record, dict) else None
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise ArtifactError(f"{directory / TRAINING} is no record of a training; put it back, or remove {directory}")
    try:
        verify_files(directory, files, "")
    except ArtifactError as error:
        raise ArtifactError(f"{str(error).rpartition('; ')[0]}; put it back, or remove {directory}") from None


def settings_of(options: TrainOptions) -> dict[str, dict]:
    """What results depend on, as the guard compares it."""
    paths = {name: getattr(options, name) for name in GIVEN_FILES} | {"preferences": find_preferences(options)}
    files = {name: path for name, path in paths.items() if path is not None and path.is_file()}
    return {"config": acting_knobs(options), "inputs": {name: sample_fingerprint(path) for name, path in files.items()}}


def train(options: TrainOptions) -> None:
    import torch

    from UR4Rec.data.multimodal_dataset import create_dataloaders
    from UR4Rec.models.stages import fit_stages

    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    print(loader.report())
    item_metadata, user_sequences, _ = loader.load()
    loaders = create_dataloaders(
        user_sequences,
        item_metadata,
        batch_size=options.batch_size,
        max_seq_len=options.max_history,
        num_negatives=options.num_negatives,
        seed=options.seed,
        windows=True,
    )
    torch.manual_seed(options.seed)
    trainer = make_trainer(options, make_model(options, item_metadata, user_sequences))
    epochs = {stage: getattr(options, f"{stage}_epochs") for stage in STAGE_EPOCHS}
    result = fit_stages(trainer, *loaders[:2], epochs, options.early_stop, options.output_dir)
    write_results(trainer, loaders[2], item_metadata, options)
    switches = trainer.adaptive_alternating.get_stats()
    files = {name: entry for name, entry in describe_files(options.output_dir).items() if is_result(name)}
    write_json(options.output_dir / TRAINING, {"curve": result.curve, "alternation": switches, "files": files})
    remove_working_files(options.output_dir)


def is_result(name: str) -> bool:
    """Whether a file below the output directory stays as it is when training is finished."""
    return not name.startswith(("stages/", "logs/", TRAINING))  # the record itself may lie there half written


def remove_working_files(directory: Path) -> None:
    from UR4Rec.models.stages import STAGE_RUNS

    remove_directories(directory / STAGE_RUNS)


def make_trainer(options: TrainOptions, model: UR4RecV2) -> JointTrainer:
    from UR4Rec.models.joint_trainer import JointTrainer

    return JointTrainer(
        model,
        options.device,
        sasrec_lr=options.sasrec_learning_rate,
        retriever_lr=options.retriever_learning_rate,
        use_adaptive_alternating=not options.fixed_alternation,
        loss=options.loss,
        tracker=options.tracker,
        log_dir=options.output_dir / "logs",
        seed=options.seed,
        **{f"use_{switch}": getattr(options, switch) for switch in SWITCHES},
    )


def make_model(options: TrainOptions, item_metadata: ItemMetadata, user_sequences: UserSequences) -> UR4RecV2:
    features = make_features(options, item_metadata)
    reads_users = "preference" in options.experts and options.retriever != "multimodal"
    preferences = make_preferences(options, item_metadata, user_sequences) if reads_users else None
    try:
        return build_model(options, len(item_metadata), features, preferences)
    except ValueError as error:  # flags that do not fit what the data have
        raise ConfigError(str(error)) from None


def build_model(
    options: TrainOptions, num_items: int, features: ItemFeatures, preferences: Preferences | None
) -> UR4RecV2:
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    return UR4RecV2(
        num_items + 1,
        sasrec_hidden_dim=options.sasrec_hidden_size,
        text_embedding_dim=features.text.shape[1],
        retriever_output_dim=options.retriever_hidden_size,
        device=options.device,
        features=features,
        preferences=preferences,
        retriever=options.retriever,
        experts=tuple(options.experts),
        top_k=options.top_k,
        sasrec_num_heads=options.num_heads,
        max_seq_len=options.max_history,
        dropout=options.dropout,
    )


def make_features(options: TrainOptions, item_metadata: ItemMetadata) -> ItemFeatures:
    from genrec.data.given_texts import read_texts
    from UR4Rec.data.features import encode_descriptions, item_features, load_image_vectors

    given = read_texts(options.descriptions) if options.descriptions else None
    text = encode_descriptions(item_metadata, options.encoder, options.cache, given)
    if options.images is None:
        return item_features(text)
    if options.images.is_dir() and options.image_encoder is None:
        return item_features(text, learn_images(options.images, item_metadata, text, options.cache))
    images = load_image_vectors(
        options.images, item_metadata, options.image_encoder, options.cache, device=options.device
    )
    return item_features(text, images)


def learn_images(directory: Path, item_metadata: ItemMetadata, text: Vectors, cache: Path) -> Vectors:
    """Posters by a small encoder that is trained here, where no other was named."""
    from UR4Rec.data.features import find_posters_of
    from UR4Rec.data.poster_encoder import own_poster_vectors

    return own_poster_vectors(find_posters_of(item_metadata, directory), len(item_metadata) + 1, text, cache)


def make_preferences(options: TrainOptions, item_metadata: ItemMetadata, user_sequences: UserSequences) -> Preferences:
    from UR4Rec.data.snapshots import given_snapshots, plain_snapshots

    vectors = item_metadata, user_sequences, options.encoder, options.cache
    given = find_preferences(options)
    return given_snapshots(given, *vectors) if given else plain_snapshots(*vectors)


def find_preferences(options: TrainOptions) -> Path | None:
    """The file that --preferences names, itself or by the generator's folder."""
    given = options.preferences
    return given / USER_PREFERENCES if given is not None and given.is_dir() else given


def write_results(
    trainer: JointTrainer, test_loader: EpochLoader, item_metadata: ItemMetadata, options: TrainOptions
) -> None:
    """Every scorer on the test rows: the whole catalogue ranked, and beside it the target among 100 candidates."""
    from genrec.evaluation.report import make_table, summarize_report
    from UR4Rec.evaluation import evaluate_full, write_full
    from UR4Rec.models.ur4rec_v2 import SCORERS

    rankings = {
        name: evaluate_full(name, lambda batch, name=name: trainer.score(batch, name), test_loader, item_metadata)
        for name in SCORERS
    }
    for name, ranking in rankings.items():
        write_full(ranking, test_loader, item_metadata, options.output_dir / name, options.seed)
    candidates = {name: trainer.measure(test_loader, name, protocol="candidates") for name in SCORERS}
    write_json(options.output_dir / CANDIDATES, candidates)
    print(f"\n{make_table([summarize_report(each.report, options.seed) for each in rankings.values()])}")
    hits = ", ".join(f"{name} {metrics['hit@10']:.4f}" for name, metrics in candidates.items())
    print(f"\namong 100 candidates (comparable with nothing else): hit@10 {hits}\nwritten: {options.output_dir}")


if __name__ == "__main__":
    run_program(__file__, main)
