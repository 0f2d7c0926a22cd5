"""Values that are no numbers are found and counted by the name of their tensor."""

import torch

from genrec.runtime.finite import describe_not_finite, diverged


def test_the_first_tensor_with_values_that_are_no_numbers_is_named():
    whole, counts = torch.ones(3), torch.tensor([1, 2])
    broken = torch.tensor([1.0, float("nan"), float("inf"), -1.0])
    assert describe_not_finite([("a", whole), ("n", counts)]) == ""
    found = describe_not_finite([("a", whole), ("b", broken), ("c", broken)])
    assert found == "2 of 4 values of 'b' are no finite numbers"


def test_the_message_says_when_and_which_knob_to_turn():
    text = str(diverged("sasrec", "the loss is nan", "after epoch 3", "sequential.learning_rate"))
    assert text.startswith("sasrec: the loss is nan after epoch 3; nothing of it was published. Lower sequential.")
