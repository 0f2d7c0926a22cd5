"""UR4Rec's models: what each module reads, what it never reads, and how missing knowledge is left out."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genrec.errors import ArtifactError
from tests.ur4rec.conftest import ITEMS, WIDTH, item_features, loaders, user_preferences
from UR4Rec.data.content import Content
from UR4Rec.models.multimodal_retriever import MultimodalRetriever
from UR4Rec.models.preferences import NEVER, make_preferences, newest_texts
from UR4Rec.models.retriever import Frozen, Query
from UR4Rec.models.retriever_moe import MoERetriever, load_balance_loss, masked_softmax
from UR4Rec.models.sasrec import TEMPERATURE, build_sasrec
from UR4Rec.models.text_retriever import TextRetriever
from UR4Rec.models.ur4rec_v2 import SCORERS, UR4RecV2, fuse

SMALL = {"sasrec_hidden_dim": 16, "retriever_output_dim": 8, "max_seq_len": 10, "text_embedding_dim": WIDTH}


def small(**options) -> UR4RecV2:
    torch.manual_seed(0)
    return UR4RecV2(ITEMS + 1, **{**SMALL, **options}).eval()


def frozen(width: int = WIDTH, unknown: tuple[int, ...] = (), seed: int = 0) -> Frozen:
    vector = torch.randn(ITEMS + 1, width, generator=torch.Generator().manual_seed(seed))
    present = torch.arange(ITEMS + 1) > 0
    present[list(unknown)] = False
    return Frozen(vector * present[:, None], present)


# SASRec


def test_two_left_padded_histories_differ():
    model = build_sasrec(ITEMS + 1, 16, 2, 2, 10, dropout=0.3).eval()
    histories = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1, 2, 3], [0, 0, 0, 0, 0, 0, 0, 1, 2, 4]])
    one, other = model.score(model(histories)[:, -1])
    assert not torch.allclose(one, other)


def test_padding_changes_nothing():
    model = build_sasrec(ITEMS + 1, 16, 2, 2, 10, dropout=0.3).eval()
    short = model(torch.tensor([[5, 6, 7]]))[0, -1]
    padded = model(torch.tensor([[0] * 7 + [5, 6, 7]]))[0, -1]
    torch.testing.assert_close(short, padded)


def test_the_state_at_a_position_knows_nothing_of_what_follows():
    model = build_sasrec(ITEMS + 1, 16, 2, 2, 10, dropout=0.3).eval()
    one, other = model(torch.tensor([[0, 3, 4, 5, 6], [0, 3, 4, 5, 9]]))
    torch.testing.assert_close(one[:4], other[:4])


@pytest.mark.parametrize("wrong", [ITEMS + 1, -1])
def test_ids_out_of_range_are_an_error_and_never_clamped(wrong):
    with pytest.raises(ValueError, match=f"item ids reach from .*the model knows 0..{ITEMS}"):
        small()(torch.tensor([[0, 1, wrong]]))


# Experts and routing


def test_scores_follow_the_formula_by_brute_force():
    torch.manual_seed(0)
    model = MoERetriever(ITEMS + 1, frozen(unknown=(4,)), image=frozen(6, unknown=(4, 7), seed=1), dim=8).eval()
    torch.nn.init.normal_(model.bias)
    query = model(torch.tensor([[0, 3, 5, 9]])).at(torch.tensor([[False, False, False, True]]))
    query = query._replace(weight=torch.tensor([[0.3, 0.7]]))
    scores = model.score(query)[0]
    vectors, present = model.keys()
    for item in range(1, ITEMS + 1):
        votes = [(query.weight[0, k], query.vector[0, k] @ vectors[k, item]) for k in range(2) if present[k, item]]
        mean = sum(w * cosine for w, cosine in votes) / sum(w for w, _ in votes) if votes else 0.0
        torch.testing.assert_close(scores[item], mean / TEMPERATURE + model.bias[item])
    assert scores[0] < scores[1:].min()


def test_a_missing_modality_silences_its_expert():
    torch.manual_seed(0)
    model = MoERetriever(ITEMS + 1, frozen(), image=frozen(6, unknown=tuple(range(1, 20)), seed=1), dim=8).eval()
    weights = model(torch.tensor([[0, 0, 5, 25]])).weight[0]
    torch.testing.assert_close(weights[2], torch.tensor([1.0, 0.0]))  # no poster has been seen yet
    torch.testing.assert_close(weights[3], torch.tensor([0.5, 0.5]))  # film 25 has one; the router begins even
    torch.testing.assert_close(weights[0], torch.zeros(2))


def test_a_masked_image_cannot_matter():
    """Whatever stands in the row of an item without a poster."""
    scores = []
    for fill in (0.0, 9.0):
        torch.manual_seed(0)
        image = frozen(6, unknown=(5,), seed=1)
        image.vector[5] = fill
        model = MoERetriever(ITEMS + 1, frozen(), image=image, dim=8).eval()
        scores.append(model.score(model(torch.tensor([[1, 5, 8]])).at(torch.tensor([[False, True, True]]))))
    assert torch.equal(*scores)


def test_top_k_leaves_the_weakest_expert_out():
    torch.manual_seed(0)
    model = MoERetriever(ITEMS + 1, frozen(), image=frozen(6, seed=1), dim=8, top_k=1).eval()
    torch.nn.init.normal_(model.router.layers[-1].weight)
    query = model(torch.tensor([[3, 4, 5, 6]]))
    assert torch.equal(query.weight.sort(dim=-1).values[0], torch.tensor([[0.0, 1.0]] * 4))
    assert torch.equal(query.weight.argmax(-1), query.probability.argmax(-1))
    with pytest.raises(ValueError, match="top_k is 3, there are 2 experts"):
        MoERetriever(ITEMS + 1, frozen(), image=frozen(6), dim=8, top_k=3)


def test_masked_softmax_by_hand():
    logits, allowed = torch.tensor([[0.0, 1.0986123, 9.0], [1.0, 1.0, 1.0]]), torch.tensor([[1, 1, 0], [0, 0, 0]]) > 0
    torch.testing.assert_close(masked_softmax(logits, allowed), torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]))


def test_balance_loss_is_1_when_even_and_K_when_one_expert_does_all():
    even, one = torch.full((5, 4), 0.25), F.one_hot(torch.zeros(5, dtype=torch.long), 4).float()
    assert load_balance_loss(Query(even, even, even)).item() == pytest.approx(1.0)
    assert load_balance_loss(Query(one, one, one)).item() == pytest.approx(4.0)


def test_the_history_is_pooled_by_decay():
    """The mean of the last item, of weights 1/2^age, .9^age and 1, over items with text; refinement begins at 0."""
    torch.manual_seed(0)
    model = TextRetriever(ITEMS + 1, frozen(unknown=(6,)), dim=8, max_seq_len=10).eval()
    expert = model.experts["description"]
    vectors = expert.seen()
    wanted = torch.zeros(8)
    for decay in (0.0, 0.5, 0.9, 1.0):
        weights = torch.tensor([decay**3, decay**2, 0.0, 1.0])  # films 3, 4, 6 (unknown), 5
        wanted += (weights[:, None] * vectors[[3, 4, 6, 5]]).sum(0) / weights.sum() / 4
    asked, present = expert(torch.tensor([[0, 3, 4, 6, 5]]))
    torch.testing.assert_close(asked[0, -1], wanted)
    assert present[0].tolist() == [False, True, True, True, True]


def test_the_multimodal_vector_falls_back_on_what_is_there():
    torch.manual_seed(0)
    text, image = frozen(unknown=(3, 9)), frozen(6, unknown=(4, 9), seed=1)
    model = MultimodalRetriever(ITEMS + 1, text, image, dim=8).eval()
    tower = model.experts["multimodal"].keys
    vectors = tower()
    torch.testing.assert_close(vectors[3], tower.image(image.vector[3]))
    torch.testing.assert_close(vectors[4], tower.text(text.vector[4]))
    assert not tower.present[9] and tower.present[3] and tower.present[4]


def test_frozen_vectors_stay_and_projections_learn():
    model = small(features=item_features(images=True)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.nll_loss(model(torch.tensor([[1, 2, 3], [0, 4, 5]])), torch.tensor([4, 6])).backward()
        optimizer.step()
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("frozen" in name or "present" in name for name in moved)
    for expert in ("description", "image"):
        for tower in ("keys", "seen"):
            assert f"retriever.experts.{expert}.{tower}.project.weight" in moved


# Texts of users


def test_a_text_is_read_only_after_the_events_it_tells_of():
    row = torch.tensor([[1, 2], [3, 0]])
    end = torch.tensor([[3, 8], [5, NEVER]])
    events = torch.tensor([[2, 3, 7, 8], [4, 5, 6, 99]])
    assert newest_texts(row, end, torch.tensor([0, 1]), events).tolist() == [[0, 1, 1, 2], [0, 3, 3, 3]]


def test_preferences_are_sorted_and_unknown_texts_left_out():
    vector = np.arange(8, dtype=np.float32).reshape(4, 2)
    preferences = make_preferences(vector, np.array([True, True, False, True]), [1, 1, 0, 1], [8, 3, 4, 5], num_users=3)
    assert preferences.end.tolist() == [[NEVER] * 3, [3, 5, 8], [NEVER] * 3]
    assert preferences.row.tolist() == [[0, 0, 0], [2, 4, 1], [0, 0, 0]]
    assert np.array_equal(preferences.vector[1:], vector) and not preferences.vector[0].any()


def test_no_training_position_reads_a_text_that_names_its_target():
    """The oracle goes back to the users' sequences: the text in use was written from events before the target."""
    preferences = user_preferences()
    model = small(features=item_features(), preferences=preferences)
    loader = loaders(windows=True)[0]
    covered = {int(r): int(e) for r, e in zip(preferences.row.ravel(), preferences.end.ravel(), strict=True)}
    used = 0
    for batch in loader:
        rows = model.snapshots(batch["input_seq"], batch["user_index"], batch["history_length"])
        for b, user in enumerate(batch["user_index"].tolist()):
            sequence = (loader.dataset.sequences.item + 1)[slice(*loader.dataset.sequences.offset[[user, user + 1]])]
            for t in torch.nonzero(batch["target_seq"][b])[:, 0].tolist():
                place = sequence.tolist().index(batch["target_seq"][b, t].item())
                if (row := rows[b, t].item()) > 0:
                    used += 1
                    assert covered[row] <= place and row in preferences.row[user]
    assert used > 50


def test_a_model_with_texts_of_users_asks_for_the_user():
    with pytest.raises(ValueError, match="needs user_index and history_length"):
        small(features=item_features(), preferences=user_preferences())(torch.tensor([[1, 2]]))


# The whole


def test_the_printed_construction_runs_on_ids_alone_and_says_so():
    model = UR4RecV2(
        num_items=ITEMS + 1, sasrec_hidden_dim=256, text_embedding_dim=384, retriever_output_dim=256, device="cpu"
    ).eval()
    assert "by id alone, no text" in model.describe()
    scores = model(torch.tensor([[0, 1, 2]]))
    assert scores.shape == (1, ITEMS + 1)
    torch.testing.assert_close(scores.exp().sum(), torch.tensor(1.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_one_clear_line():
    with pytest.raises(ArtifactError, match="device is cuda, but torch sees no GPU here"):
        small(device="cuda")


def test_features_of_another_catalogue_or_encoder_are_refused():
    with pytest.raises(ValueError, match=r"texts have shape \(31, 12\), the model expects \(31, 384\)"):
        small(features=item_features(), text_embedding_dim=384)


def test_fusion_is_bounded_and_begins_at_the_initial_gate():
    model = small(features=item_features(), initial_gate=0.1)
    batch = torch.tensor([[0, 1, 2], [3, 4, 5]])
    last = torch.tensor([[False, False, True]] * 2)
    scores = model.score(model.encode(batch, last, None, None, SCORERS), SCORERS)
    torch.testing.assert_close(scores.gate, torch.tensor([0.1, 0.1]))
    wanted = (0.9 * scores.sasrec + 0.1 * scores.retriever).log_softmax(-1)
    torch.testing.assert_close(scores.fused, wanted)
    torch.nn.init.normal_(model.fusion.gate.weight, std=50)
    gate = model.score(model.encode(batch, last, None, None, SCORERS), SCORERS).gate
    assert ((gate >= 0) & (gate <= 1)).all()


def test_an_items_score_does_not_depend_on_the_scale_of_a_part():
    """Adding a constant to all of one scorer's scores, as another candidate set would, changes no fused score."""
    one, other, gate = torch.randn(2, 9), torch.randn(2, 9), torch.tensor([0.3, 0.6])
    shifted = fuse((one + 7).log_softmax(-1), (other - 3).log_softmax(-1), gate)
    torch.testing.assert_close(shifted, fuse(one.log_softmax(-1), other.log_softmax(-1), gate))


def test_a_user_nothing_is_known_of_is_left_to_sasrec():
    torch.manual_seed(0)
    model = small(features=item_features(), retriever="text")
    model.retriever.experts["description"].seen.present[:] = False
    last = torch.tensor([[False, False, True]])
    scores = model.score(model.encode(torch.tensor([[0, 1, 2]]), last, None, None, SCORERS), SCORERS)
    assert scores.gate.item() == 0
    torch.testing.assert_close(scores.fused, scores.sasrec)


def test_a_batch_scores_as_its_rows_one_by_one():
    model = small(features=item_features(images=True), preferences=user_preferences())
    batch = next(iter(loaders()[2]))
    whole = model(batch["input_seq"], batch["user_index"], batch["history_length"])
    for row in range(3):
        pick = slice(row, row + 1)
        alone = model(batch["input_seq"][pick], batch["user_index"][pick], batch["history_length"][pick])
        torch.testing.assert_close(whole[pick], alone)


def test_a_device_that_is_not_here_ends_a_script_in_a_sentence():
    """Python prints what a SystemExit has for `code`, and no traceback."""
    with pytest.raises(SystemExit) as ended:
        small(device="cuda:77")
    assert isinstance(ended.value, ArtifactError)
    assert ended.value.code == "error: device is cuda:77, but torch sees no GPU here; it can be auto or cpu"
    with pytest.raises(ArtifactError, match="device is 'tpu'"):
        small(device="tpu")


def test_top_k_waits_for_the_experts_that_a_loader_brings():
    model = small(top_k=2)
    assert list(model.retriever.experts) == ["ids"]
    model.take_content(Content(item_features(images=True), user_preferences()))
    assert model.retriever.router.top_k == 2 and len(model.retriever.experts) == 3
    with pytest.raises(ValueError, match="top_k is 2, there are 1 experts"):
        small(top_k=2).take_content(Content(item_features()))


def test_experts_that_were_not_asked_for_are_not_missed():
    model = small(experts=("description",))
    model.take_content(Content(item_features(images=True), missing={"preference": "none", "description": "none"}))
    assert model.describe() == "retriever: 1 expert (description); no description: none"
    assert not small(experts=()).awaits_content and not small(features=item_features()).awaits_content
