"""The loss over legal tokens against the definition, by hand and by the decoder's own scores."""

import numpy as np
import torch
from torch.nn import functional as F

from genrec.models.beam import SidVocabulary
from genrec.models.trie import build_trie
from genrec.sids import make_index
from genrec.training.answer_loss import answer_loss, make_legal

CODES = np.array([[0, 0], [0, 2], [1, 1]])  # three items, levels of 2 and 3 codes
SIDS = SidVocabulary(torch.tensor([4, 5, 6, 7, 8]), (0, 2), (2, 3))  # after four text tokens
SIZE = 10


def legal_of(labels):
    return make_legal(build_trie(make_index(CODES, (2, 3))), SIDS, SIZE)(torch.tensor(labels))


def test_after_each_code_the_catalogue_s_next_codes_are_legal_and_after_text_all():
    legal = [row.nonzero()[:, 0].tolist() for row in legal_of([4, 8, 1, 5, 7, 4, 6])]
    assert legal == [[4, 5], [6, 8], list(range(SIZE)), [4, 5], [7], [4, 5], [6, 8]]


def test_an_ended_sid_is_no_label():
    index = make_index(np.array([[0, -1], [1, 0], [1, 1]]), (2, 2), allow_collisions=True)
    sids = SidVocabulary(torch.tensor([4, 5, 6, 7]), (0, 2), (2, 2))
    legal = make_legal(build_trie(index), sids, SIZE)(torch.tensor([4, 5, 7]))
    assert [row.nonzero()[:, 0].tolist() for row in legal] == [[4, 5], [4, 5], [6, 7]]


def test_loss_is_the_smoothed_cross_entropy_of_the_legal_tokens():
    torch.manual_seed(0)
    labels = torch.tensor([4, 8, 1])
    logits, legal = torch.randn(3, SIZE), legal_of([4, 8, 1])
    rows = [
        F.cross_entropy(row[mask][None], mask[:label].sum()[None], label_smoothing=0.1)
        for row, label, mask in zip(logits, labels, legal, strict=True)
    ]
    torch.testing.assert_close(answer_loss(logits, labels, legal, 0.1), torch.stack(rows))
    everything = torch.ones_like(legal)
    torch.testing.assert_close(answer_loss(logits, labels, everything, 0.1), answer_loss(logits, labels, None, 0.1))


def test_a_token_that_may_not_stand_there_gets_no_gradient():
    logits = torch.zeros(2, SIZE, requires_grad=True)
    answer_loss(logits, torch.tensor([4, 8]), legal_of([4, 8]), 0.1).sum().backward()
    assert logits.grad[0].nonzero()[:, 0].tolist() == [4, 5] and logits.grad[1].nonzero()[:, 0].tolist() == [6, 8]
