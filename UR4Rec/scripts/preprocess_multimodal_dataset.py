"""A collection with everything numbered 1..N and split, as plain files that any tool can read.

reads   MovieLens as UR4Rec/data/dataset_loader.py does
writes  <output_dir>/{train,val,test}_sequences.npz   user (U,), offset (U + 1,), item (T,): user u owns offset[u:u + 2]
        <output_dir>/{item_metadata,item_map,user_map,stats}.json, and with --copy_images images/<item>.png

The three files of sequences hold each user's train prefix, the valid item and the test item.

    python UR4Rec/scripts/preprocess_multimodal_dataset.py --data_dir DIR --output_dir OUT --copy_images
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from genrec.artifacts import save_arrays, write_json
from genrec.errors import exit_on_failure
from UR4Rec.data.dataset_loader import (
    MIN_RATING,
    MIN_SEQ_LEN,
    PLACES,
    ItemMetadata,
    MovieLensDataLoader,
    UserSequences,
)
from UR4Rec.data.posters import find_posters, open_image

PARTS = {"train": slice(None, -2), "val": slice(-2, -1), "test": slice(-1, None)}


def main() -> None:
    options = parse_options()
    with exit_on_failure(options.output_dir):
        loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
        print(loader.report())
        items = loader.build_item_metadata()
        sequences = loader.build_user_sequences(options.min_rating, options.min_seq_len)
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
    for name, part in PARTS.items():
        cut = [items[part] for items in sequences.values()]
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
    found = find_posters(items, source)
    for number, path in found.items():
        open_image(path).save(directory / f"{number}.png")
    return len(found)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(PLACES), default="ml-100k", help="default ml-100k")
    parser.add_argument("--data_dir", type=Path, help="folder of the files, as dataset_loader.py takes it")
    parser.add_argument("--plots", type=Path, help="JSON lines with movie_id and plot, for plain MovieLens")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the files go")
    parser.add_argument("--min_rating", type=float, default=MIN_RATING, help="what counts as liked (default 4.0)")
    parser.add_argument("--min_seq_len", type=int, default=MIN_SEQ_LEN, help="shortest sequence kept (default 5)")
    parser.add_argument("--copy_images", action="store_true", help="copy the posters too")
    options = parser.parse_args()
    if options.min_seq_len < 3:
        parser.error(f"--min_seq_len {options.min_seq_len}: train, valid and test need 3")
    return options


if __name__ == "__main__":
    main()
