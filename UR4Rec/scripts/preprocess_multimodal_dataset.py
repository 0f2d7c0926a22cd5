"""A collection with everything numbered 1..N and split, as plain files that any tool can read.

reads   MovieLens as UR4Rec/data/dataset_loader.py does
writes  <output_dir>/{train,val,test}_sequences.npz   user (U,), offset (U + 1,), item (T,): user u owns offset[u:u + 2]
        <output_dir>/{item_metadata,item_map,user_map,stats}.json, and with --copy_images images/<item>.png

The three files of sequences hold each user's train prefix, the valid item and the test item.

    python UR4Rec/scripts/preprocess_multimodal_dataset.py --data_dir DIR --output_dir OUT --copy_images
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from pathlib import Path

import numpy as np

from genrec.artifacts import save_arrays, write_json
from genrec.cli import run_program
from genrec.errors import exit_on_failure
from genrec.lock import only_writer
from UR4Rec.data.dataset_loader import ItemMetadata, MovieLensDataLoader, UserSequences, require_sequences
from UR4Rec.data.posters import find_posters, open_image
from UR4Rec.options import PreprocessOptions, read_options

SPLIT_EVENTS = {"train": slice(None, -2), "val": slice(-2, -1), "test": slice(-1, None)}


def main() -> None:
    options = read_options("preprocess_multimodal_dataset.py", __doc__, PreprocessOptions)
    with exit_on_failure(options.output_dir), only_writer(options.output_dir):
        write_collection(options)


def write_collection(options: PreprocessOptions) -> None:
    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    print(loader.report())
    items = loader.build_item_metadata()
    sequences = loader.build_user_sequences(options.min_rating, options.min_seq_len)
    require_sequences(sequences, options.min_rating, options.min_seq_len)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    write_sequences(sequences, options.output_dir)
    write_json(options.output_dir / "item_metadata.json", items)
    write_json(options.output_dir / "item_map.json", {item["original_id"]: n for n, item in items.items()})
    write_json(options.output_dir / "user_map.json", {user: n for n, user in enumerate(sequences, start=1)})
    images = copy_images(loader.image_dir, items, options.output_dir / "images") if options.copy_images else 0
    stats = loader.counts(options.min_rating, options.min_seq_len) | {
        "images": images,
        "min_rating": options.min_rating,
        "min_seq_len": options.min_seq_len,
    }
    write_json(options.output_dir / "stats.json", stats)
    print(f"{len(sequences):,} sequences, {len(items):,} items, {images:,} images -> {options.output_dir}")


def write_sequences(sequences: UserSequences, directory: Path) -> None:
    """Users are numbered 1..U in the order of their ids."""
    for name, events in SPLIT_EVENTS.items():
        cut = [items[events] for items in sequences.values()]
        save_arrays(
            directory / f"{name}_sequences.npz",
            user=np.arange(1, len(cut) + 1),
            offset=np.cumsum([0, *map(len, cut)]),
            item=np.array([item for items in cut for item in items], dtype=np.int64),
        )


def copy_images(source: Path | None, items: ItemMetadata, directory: Path) -> int:
    """Posters under the items' new numbers, as PNG; -> how many."""
    if source is None:
        return 0
    directory.mkdir(exist_ok=True)
    posters = find_posters(items, source)
    for number, path in posters.items():
        open_image(path).save(directory / f"{number}.png")
    return len(posters)


if __name__ == "__main__":
    run_program(__file__, main)
