"""UR4Rec's data in four steps: load, batch, texts about users, and frozen vectors of items.

reads   MovieLens-100K as UR4Rec/data/dataset_loader.py does

    python example_data_loading.py
    python example_data_loading.py --data_dir DIR --vectors      # step 4 too, which runs a sentence encoder
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from pathlib import Path

from genrec.cli import run_program
from genrec.config import Section, knob
from genrec.errors import exit_on_failure
from UR4Rec.options import read_options


class ExampleOptions(Section):
    data_dir: Path | None = knob(None, "folder of the files, as UR4Rec/data/dataset_loader.py takes it")
    vectors: bool = knob(False, "encode the item texts, about half a minute")


def main() -> None:
    options = read_options("example_data_loading.py", __doc__, ExampleOptions)
    with exit_on_failure(options.data_dir or Path(".")):
        show_steps(options.data_dir, options.vectors)


def show_steps(data_dir: Path | None, vectors: bool) -> None:
    from UR4Rec.data.dataset_loader import load_ml_100k
    from UR4Rec.data.features import encode_descriptions
    from UR4Rec.data.generated import plain_preferences
    from UR4Rec.data.multimodal_dataset import create_dataloaders, describe

    item_metadata, user_sequences, users = load_ml_100k(data_dir)
    print(f"1. loaded {len(item_metadata):,} items, {len(user_sequences):,} user sequences, {len(users):,} users")
    print(f"   item 1: {item_metadata[1]}")

    train_loader, val_loader, test_loader = create_dataloaders(user_sequences, item_metadata, batch_size=128)
    print(f"2. {len(train_loader):,} train, {len(val_loader)} valid, {len(test_loader)} test batches; one of test:")
    print("\n".join(f"   {line}" for line in describe(next(iter(test_loader)))))

    user, text = next(iter(plain_preferences(item_metadata, user_sequences).items()))
    print(f"3. what the train prefix says of user {user}: {text}")

    if vectors:
        items = encode_descriptions(item_metadata)
        print(f"4. item vectors {items.vector.shape}, of {int(items.present.sum()):,} items that have a text")


if __name__ == "__main__":
    run_program(__file__, main)
