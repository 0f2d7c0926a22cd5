"""A rate that is too high is said, in a line and in the training's record; a fit one is not."""

import json

import pytest

TRAINED = {"sft": ("sft", "--num_epochs", "1"), "sequential/sasrec": ("sequential", "--num_epochs", "3")}
SAYS = r"warning: the loss ended at [\d.]+, above the [\d.]+ that it began at; lower --{}.learning_rate \(10\)"


@pytest.mark.parametrize("model, words", TRAINED.items())
def test_a_loss_that_rose(shop, model, words):
    command, *flags = words
    for rate, statistics in (("10", True), ("0.01", False)):
        done = shop.call(command, *flags, "--clean", "--learning_rate", rate)
        done.check(0, SAYS.format(command) if statistics else "done in")
        record = json.loads((shop.run / model / "training.json").read_text())["statistics"]
        assert ("warning" in record) == ("warning: " in done.out) == statistics
