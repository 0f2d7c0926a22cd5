"""UR4Rec's data in four scenarios: what is loaded, what a model is fed, what is asked, what the experts read.

reads   MovieLens-100K, or 1M, as UR4Rec/data/dataset_loader.py does

    python example_data_loading.py
    python example_data_loading.py --dataset ml-1m --data_dir DIR
    python example_data_loading.py --no_vectors           # without scenario 4's encoding, which takes a minute once
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from pathlib import Path
from typing import TYPE_CHECKING

from genrec.cli import run_program
from genrec.config import knob
from genrec.errors import exit_on_failure
from UR4Rec.options import CollectionOptions, read_options

if TYPE_CHECKING:
    from UR4Rec.data.batches import EpochLoader
    from UR4Rec.data.dataset_loader import ItemMetadata, MovieLensDataLoader, UserSequences


class ExampleOptions(CollectionOptions):
    no_vectors: bool = knob(False, "leave out the encoding of texts and posters in scenario 4")


def main() -> None:
    options = read_options("example_data_loading.py", __doc__, ExampleOptions)
    with exit_on_failure(options.data_dir or Path(".")):
        show_scenarios(options)


def show_scenarios(options: ExampleOptions) -> None:
    from UR4Rec.data.dataset_loader import MovieLensDataLoader
    from UR4Rec.data.multimodal_dataset import create_dataloaders

    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    item_metadata, user_sequences, users = loader.load()
    show_collection(loader, item_metadata, user_sequences, users)
    posters = loader.image_dir is not None
    loaders = create_dataloaders(user_sequences, item_metadata, loader.image_dir, batch_size=128, load_images=posters)
    show_batches(loaders)
    show_questions(item_metadata, user_sequences)
    show_content(loaders[0], read=not options.no_vectors)


def show_collection(
    loader: MovieLensDataLoader, item_metadata: ItemMetadata, user_sequences: UserSequences, users: dict
) -> None:
    print("Scenario 1: a collection is loaded")
    print("\n".join(f"   {line}" for line in loader.report().splitlines()))
    user, items = next(iter(user_sequences.items()))
    print(f"   item 1: {item_metadata[1]}")
    print(f"   user {user} ({users.get(user, 'nothing known')}): {len(items)} liked films, {items[:8]} ...")


def show_batches(loaders: tuple[EpochLoader, EpochLoader, EpochLoader]) -> None:
    from UR4Rec.data.multimodal_dataset import describe

    train_loader, val_loader, test_loader = loaders
    print("\nScenario 2: batches for training and evaluation")
    rows = ", ".join(f"{len(each.dataset):,} {each.dataset.split} rows" for each in loaders)
    print(f"   {rows}; a batch of test:")
    print("\n".join(f"      {line}" for line in describe(next(iter(test_loader)))))
    windows = train_loader.windowed()
    print(f"   JointTrainer reads the train rows as {len(windows.dataset):,} windows with the same targets")


def show_questions(item_metadata: ItemMetadata, user_sequences: UserSequences) -> None:
    from UR4Rec.data.generated import movielens_source
    from UR4Rec.prompts import description_prompt, plain_preference, preference_prompt

    source = movielens_source("", item_metadata, user_sequences)
    user = next(iter(source.histories))
    history = source.history(user)
    print("\nScenario 3: what llm_generator.py asks a language model, and the sentence that stands in without one")
    print("\n".join(f"   | {line}" for line in preference_prompt(history[-3:]).splitlines()))
    print(f"   user {user}, {len(history)} films of the train prefix: {plain_preference(history)[:200]}")
    print("\n".join(f"   | {line}" for line in description_prompt(item_metadata[1]).splitlines()))


def show_content(train_loader: EpochLoader, read: bool) -> None:
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    print("\nScenario 4: texts and posters as the vectors that the three experts read")
    if not read:
        print("   left out (--no_vectors)")
        return
    content = train_loader.source.content
    if content.features is not None:
        print(f"   texts {content.features.text.shape}, of {int(content.features.has_text.sum()):,} films")
        print(f"   posters of {int(content.features.has_image.sum()):,} films")
        model = UR4RecV2(len(content.features.text), 8, content.features.text.shape[1], 8)
        model.take_content(content)
        print(f"   {model.describe()}")
    else:
        print("\n".join(f"   no {name}: {why}" for name, why in content.missing.items()))


if __name__ == "__main__":
    run_program(__file__, main)
