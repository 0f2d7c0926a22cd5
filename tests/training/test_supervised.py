"""The loss of a step is the mean over its answers, weighed; a step that passes cannot fill is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from genrec.data.sequences import cut_examples
from genrec.data.tasks import RECOMMEND
from genrec.errors import ArtifactError
from genrec.models.token_tree import answer_logits, collate_trees
from genrec.training.rows import RowBuilder, packed_rows, to_dataset
from genrec.training.supervised import TreeTrainer, micro_batch, training_arguments
from tests import parse_flags
from tests.task_rows import task_rows
from tests.training.small_rows import alike


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_learns_from_the_mean_over_its_answers(texts, tokenizer, model, sequences, tmp_path, accumulation):
    """Also when its forward passes hold different numbers of answers."""
    events, train = sequences
    trees = list(packed_rows(RowBuilder(tokenizer, texts, 512), RECOMMEND, events, train, alike(events), 50, "exact"))
    with torch.no_grad():
        logits, labels = answer_logits(model, collate_trees([vars(tree) for tree in trees]))
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, learning_rate=0.0, per_device_train_batch_size=3 // accumulation,
        gradient_accumulation_steps=accumulation, use_cpu=True, logging_steps=1, report_to=[], disable_tqdm=True,
        remove_unused_columns=False, save_strategy="no",
    )  # fmt: skip
    assert len(trees) == 3
    rows = to_dataset(iter(trees))
    trainer = TreeTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate_trees, decode=dict)
    trainer.train()
    model.eval()
    assert abs(trainer.state.log_history[0]["loss"] - expected) < 1e-3 * expected


def test_a_weight_of_two_is_the_row_twice(texts, tokenizer, model, sequences):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    rows = list(task_rows(RECOMMEND, 1, cut_examples(events, train, 50), texts.catalog, np.random.default_rng(0)))[:4]

    def loss(trees, count):
        trainer = TreeTrainer.__new__(TreeTrainer)
        trainer.args, trainer.accelerator = SimpleNamespace(label_smoothing_factor=0.0), OneProcess()
        trainer.legal, trainer.soften, trainer.rdrop = None, None, 0.0
        return trainer.compute_loss(
            model, collate_trees([vars(tree) for tree in trees]), num_items_in_batch=count
        ).item()

    twice = loss([builder.row(RECOMMEND, *row) for row in [*rows, rows[1]]], 15)
    weighted = loss([builder.row(RECOMMEND, *row, 1.0 + (n == 1)) for n, row in enumerate(rows)], 15)
    assert weighted == pytest.approx(twice, rel=1e-5)
    assert weighted != pytest.approx(loss([builder.row(RECOMMEND, *row) for row in rows], 15), rel=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_rdrop_wants_passes_that_differ(texts, tokenizer, model, sequences, dropout):
    events, train = sequences
    builder = RowBuilder(tokenizer, texts, 512)
    row = builder.row(
        RECOMMEND,
        *next(iter(task_rows(RECOMMEND, 1, cut_examples(events, train, 50), texts.catalog, np.random.default_rng(0)))),
    )
    dropped = torch.nn.functional.dropout
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, read: dropped(read, dropout))
    trainer = TreeTrainer.__new__(TreeTrainer)
    trainer.args, trainer.accelerator = SimpleNamespace(label_smoothing_factor=0.0), OneProcess()
    trainer.legal, trainer.soften, trainer.rdrop = None, None, 1.0
    trainer.state = SimpleNamespace(global_step=0)
    try:
        if dropout:
            assert trainer.compute_loss(model, collate_trees([vars(row)])).item() > 0
        else:
            with pytest.raises(ArtifactError, match=r"sft\.rdrop 1\.0 .* the model has none"):
                trainer.compute_loss(model, collate_trees([vars(row)]))
    finally:
        hook.remove()


class OneProcess:
    num_processes = 1

    @staticmethod
    def unwrap_model(model):
        return model


def test_passes_that_cannot_fill_a_step_are_refused(monkeypatch):
    def rows_a_pass(processes, micro):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        return micro_batch(parse_flags(["--sft.batch_size", "24", "--sft.micro_batch_size", str(micro)]).config.sft)

    assert [rows_a_pass(*launch) for launch in ((1, 8), (3, 8), (2, 4), (4, 12))] == [8, 8, 4, 6]
    for processes, micro in ((2, 8), (5, 4)):
        told = rf"sft.batch_size 24 over {processes} process.* not a multiple of {micro} rows a pass"
        with pytest.raises(ArtifactError, match=told):
            rows_a_pass(processes, micro)


def test_the_plan_knows_how_many_steps_were_asked_for(tmp_path):
    flags = ["--sft.trainer.max_steps", "100", "--sft.warmup_ratio", "0.1", "--sft.eval_step", "0.25"]
    config = parse_flags([*flags, "--run.device", "cpu"]).config
    arguments = training_arguments(config.sft, config.run, tmp_path, 100_000)
    assert (arguments.warmup_steps, arguments.eval_steps) == (10, 25)
