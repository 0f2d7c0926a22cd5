"""A run killed in the middle of any epoch sees the rows it would have seen; early stopping is not forgotten."""

from types import SimpleNamespace

import datasets
import pytest
import torch
from transformers import TrainerControl, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from genrec.data.tasks import RECOMMEND
from genrec.models.token_tree import collate_trees
from genrec.training.resuming import EpochOrder, Patience
from genrec.training.rows import RowBuilder, to_dataset
from genrec.training.supervised import TreeTrainer
from tests.training.killed import KilledAfter

ROWS, BATCH, EPOCHS = 12, 2, 3


@pytest.fixture(scope="module")
def rows(texts, tokenizer) -> datasets.Dataset:
    builder = RowBuilder(tokenizer, texts, 512)
    return to_dataset(builder.row(RECOMMEND, torch.arange(1 + row % 5).numpy(), row) for row in range(ROWS))


def seen(model, rows, directory, resume=None, killed_at=None) -> list[list[tuple]]:
    """The answers of every batch that a run is given, in order."""
    batches = []

    def recording(rows):
        batches.append([tuple(row["labels"]) for row in rows])
        return collate_trees(rows)

    torch.manual_seed(torch.randint(1000, ()).item())  # whatever was drawn before
    arguments = TrainingArguments(
        str(directory), num_train_epochs=EPOCHS, learning_rate=0.0, per_device_train_batch_size=BATCH, save_steps=3,
        use_cpu=True, report_to=[], disable_tqdm=True, remove_unused_columns=False,
        train_sampling_strategy="group_by_length", length_column_name="length",
    )  # fmt: skip
    told = [KilledAfter(killed_at)] if killed_at else []
    trainer = TreeTrainer(
        model=model, args=arguments, train_dataset=rows, data_collator=recording, decode=dict, callbacks=told
    )
    trainer.train(resume_from_checkpoint=resume)
    return batches


def test_a_run_killed_in_any_epoch_goes_on_with_the_rows_that_are_left(model, rows, tmp_path):
    a_epoch = ROWS // BATCH
    unbroken = seen(model, rows, tmp_path / "a")
    epochs = [unbroken[begin : begin + a_epoch] for begin in range(0, EPOCHS * a_epoch, a_epoch)]
    everyone = sorted(tuple(labels) for labels in rows["labels"])
    assert all(sorted(one for batch in epoch for one in batch) == everyone for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    for killed_at in (3, a_epoch, a_epoch + 3, 2 * a_epoch + 3):
        directory = tmp_path / str(killed_at)
        with pytest.raises(KeyboardInterrupt):
            seen(model, rows, directory, killed_at=killed_at)
        resumed = seen(model, rows, directory, resume=str(directory / f"checkpoint-{killed_at}"))
        assert resumed == unbroken[killed_at:], killed_at


def test_processes_that_drew_other_numbers_order_an_epoch_alike():
    def order(drawn: int, epoch: float) -> list[int]:
        torch.manual_seed(drawn)
        follows = EpochOrder(seed=7)
        sampler = follows.rule(LengthGroupedSampler(2, lengths=list(range(20))))
        follows.on_epoch_begin(None, SimpleNamespace(epoch=epoch), None)
        return list(sampler)

    assert order(0, 1.0) == order(1, 1.0) == order(2, 1.99) != order(0, 2.0)
    assert order(0, 2.0) == order(1, 1.99999999)  # a sum of shares that should be 2


def test_a_run_that_had_stopped_stays_stopped():
    stopping = Patience(2)
    for counter, stops in ((1, False), (2, True)):
        stopping.early_stopping_patience_counter = counter
        control = TrainerControl()
        args = SimpleNamespace(load_best_model_at_end=True, metric_for_best_model="x", eval_strategy="steps")
        stopping.on_train_begin(args, None, control)
        assert control.should_training_stop == stops
