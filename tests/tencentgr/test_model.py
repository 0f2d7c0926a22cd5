from dataclasses import replace

import numpy as np
import pytest
import torch

from tencentgr.features import FeatureSchema
from tencentgr.losses import Objective
from tencentgr.model import DeviceTable, FieldEmbeddings, TencentGR, TencentGRShape, Tower, item_rows
from tencentgr.negatives import NegativeMix, NegativeSampler
from tests.tencentgr.small import ITEMS, SCHEMA, USERS, batch, model, table

HISTORIES = ([3, 1, 4, 1], [5, 9, 2], [6, 5, 3, 5, 8, 9])


def states(network: TencentGR, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    return network.encode(rows, network.item_vectors(item_rows(rows))[0])


@pytest.mark.parametrize("missing", [(), ("semantic",), ("item_emb", "item_array"), ("item_sparse", "item_continual")])
def test_the_dimension_rule(missing):
    """itemdim = H (sparse + 1 + array + semantic) + continual + H emb"""
    schema = replace(SCHEMA, **{name: type(getattr(SCHEMA, name))() for name in missing})
    kinds = ("item_sparse", "item_array", "semantic", "item_emb", "item_continual")
    sparse, array, semantic, emb, continual = (len(getattr(schema, name)) for name in kinds)
    tower = Tower(schema, "item", 16)
    assert tower.width == 16 * (sparse + 1 + array + semantic) + continual + 16 * emb == tower.out.in_features


def test_the_item_tower_is_its_formula():
    """One item by hand, feature by feature, from tables of its own."""
    network, features = model(), table("item", ITEMS + 1)
    tower, item = network.item_tower, 7
    with torch.no_grad():
        tower.out.bias.add_(0.1)

    def rows_of(fields: FieldEmbeddings, values: np.ndarray) -> torch.Tensor:
        starts = np.cumsum([0, *fields.sizes[:-1]])
        own = [fields.table.weight[int(s + v)] if v else torch.zeros(16) for s, v in zip(starts, values, strict=True)]
        return torch.cat(own)

    array = sum(rows_of(tower.array, features.array[item, :, a]) for a in range(3))
    parts = [
        tower.id.weight[item],
        rows_of(tower.sparse, features.sparse[item]),
        array,
        rows_of(tower.semantic, features.semantic[item]),
        torch.from_numpy(features.continual[item]),
        *(tower.emb[name](torch.from_numpy(features.emb[name][item])) for name in ("81", "82")),
    ]
    expected = torch.relu(tower.out(torch.cat(parts)))
    assert torch.allclose(network.item_vectors(torch.tensor([item]))[0][0], expected, atol=1e-6)


def test_values_of_different_features_never_share_a_vector():
    fields = FieldEmbeddings([3, 2], 4)
    actual = fields(torch.tensor([[3, 1], [0, 0]]))
    assert torch.equal(actual[0, 0], fields.table.weight[3]) and torch.equal(actual[0, 1], fields.table.weight[4])
    assert (actual[1] == 0).all()


def test_padding_rows_are_zero_and_stay_zero():
    network = model(user_id=True, action_type=True).train()
    rows = batch(*HISTORIES)
    network(rows, torch.zeros(3, 6, 2, dtype=torch.long))[0].sum().backward()
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):
            assert (module.weight[0] == 0).all() and (module.weight.grad[0] == 0).all()
    assert (network.item_vectors(torch.tensor([0]))[0] == 0).all()


def test_xavier_spread():
    torch.manual_seed(0)
    tower = TencentGR(
        TencentGRShape(hidden_size=64), replace(SCHEMA, num_items=2000, item_sparse={"1": 500, "2": 3000})
    ).item_tower
    assert tower.id.weight[1:].std().item() == pytest.approx((2 / (2001 + 64)) ** 0.5, rel=0.02)
    assert tower.out.weight.std().item() == pytest.approx((2 / sum(tower.out.weight.shape)) ** 0.5, rel=0.02)
    first, second = tower.sparse.table.weight[1:501], tower.sparse.table.weight[501:]
    assert first.std().item() == pytest.approx((2 / (501 + 64)) ** 0.5, rel=0.02)
    assert second.std().item() == pytest.approx((2 / (3001 + 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("knobs", [{}, {"norm_first": True}, {"rotary": True}, {"action_type": True}])
def test_what_comes_later_and_who_else_is_in_the_batch_change_nothing(knobs):
    network = model(**knobs)
    alone = states(network, batch(HISTORIES[1]))
    together = states(network, batch(HISTORIES[0], HISTORIES[1]))
    mine = batch(HISTORIES[0], HISTORIES[1])
    mine["seq"][1, -3] = 2  # the profile token of user 2 is that of row 0 above
    assert together.shape == (2, 6, 16) and alone.isfinite().all()
    changed = batch(HISTORIES[1])
    changed["seq"][0, -1] = 11
    assert torch.allclose(states(network, changed)[0, :-1], alone[0, :-1], atol=1e-6)
    assert not torch.allclose(states(network, changed)[0, -1], alone[0, -1], atol=1e-3)


def test_rotary_states_do_not_depend_on_the_amount_of_padding():
    network = model(rotary=True)
    wide, narrow = states(network, batch(HISTORIES[1])), states(network, batch(HISTORIES[1], length=4))
    assert torch.allclose(wide[:, -3:], narrow[:, -3:], atol=1e-5)


def test_the_profile_token_is_the_user_tower_and_counts():
    network, rows = model(), batch(HISTORIES[0])
    before = states(network, rows)
    rows["seq"][0, 2] = 4  # another user
    assert not torch.allclose(states(network, rows)[0, -1], before[0, -1], atol=1e-3)


def test_scores_are_those_of_a_loop():
    network, rows = model(similarity=("dot", "cosine", "scaled", "bilinear"), adaptive=True), batch(*HISTORIES)
    negatives = torch.randint(1, ITEMS + 1, (3, 6, 2))
    good, bad = network(rows, negatives)
    actual = states(network, rows)
    for b in range(3):
        for t in range(6):
            vectors = network.item_vectors(torch.cat([rows["pos"][b, t : t + 1], negatives[b, t]]))[0]
            scores = network.similarity(actual[b, t].expand(3, -1), vectors)
            assert torch.allclose(torch.cat([good[b, t : t + 1], bad[b, t]]), scores, atol=1e-5)


def features_side_by_side(network: TencentGR, rows: torch.Tensor) -> torch.Tensor:
    """What the last map of the item tower gets, (R, W): its width is the schema's."""
    seen = []
    hook = network.item_tower.out.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network.item_vectors(rows)
    hook.remove()
    return seen[0]


def test_the_time_since_the_last_interaction_does_not_drown_the_items():
    """Days between interactions, as they are: no part of a token may be several times as long as its item."""
    torch.manual_seed(0)
    network = TencentGR(TencentGRShape(hidden_size=64, time_features=True), SCHEMA)
    network.use(table("item", ITEMS + 1), table("user", USERS + 1))
    items = network.item_vectors(torch.arange(1, ITEMS + 1))[0].norm(dim=-1).mean() * 64**0.5
    kinds = {"hour": torch.tensor([[5]]), "weekday": torch.tensor([[3]]), "gap": torch.tensor([[14.0]])}  # two weeks
    assert network.times(kinds).norm() < items


def test_a_cross_layer_is_its_formula():
    plain, crossed = model(), model(cross_layers=2)
    crossed.load_state_dict(plain.state_dict() | {n: v for n, v in crossed.state_dict().items() if "cross" in n})
    rows = torch.arange(1, 5)
    x = first = features_side_by_side(plain, rows)
    for layer in crossed.item_tower.cross:
        x = first * (x @ layer.down.weight.T @ layer.up.weight.T + layer.up.bias) + x
    assert torch.allclose(features_side_by_side(crossed, rows), x, atol=1e-5)


def test_a_gate_weighs_each_block_by_all_of_them():
    plain, gated = model(), model(fusion="gated")
    gated.load_state_dict(plain.state_dict() | {n: v for n, v in gated.state_dict().items() if "gate" in n})
    rows, linear = torch.arange(1, 5), gated.item_tower.gate.linear
    x = features_side_by_side(plain, rows)
    numbers = slice(16 * 8, 16 * 8 + 2)  # id, 3 sparse, 1 array, 3 semantic; then 2 numbers, then 2 embeddings
    blocks = torch.cat([x[:, : numbers.start], x[:, numbers.stop :]], dim=1)
    weighed = blocks * (2 * torch.sigmoid(blocks @ linear.weight.T + linear.bias)).repeat_interleave(16, dim=1)
    actual = features_side_by_side(gated, rows)
    assert linear.out_features == 10 and torch.allclose(actual[:, :160][:, :128], weighed[:, :128], atol=1e-5)
    assert sorted(actual[0].tolist()) == pytest.approx(
        sorted([*weighed[0].tolist(), *x[0, numbers].tolist()]), abs=1e-5
    )


def test_a_user_never_trained_on_is_an_unknown_user():
    network = model(user_id=True)
    known, unknown = network.users(torch.tensor([3])), network.users(torch.tensor([3]))
    vectors = network.user_tower(known), network.user_tower(unknown._replace(ids=torch.tensor([0])))
    assert torch.equal(*vectors)


def test_an_item_without_a_row_of_its_own_is_encoded_by_its_features():
    network, features = model(), table("item", ITEMS + 3, seed=1)
    features.ids[ITEMS + 1 :] = 0
    network.use(features, table("user", USERS + 1))
    cold = network.item_vectors(torch.tensor([ITEMS + 1, ITEMS + 2]))[0]
    assert cold.abs().sum() > 0 and not torch.allclose(cold[0], cold[1])


def test_tables_are_not_part_of_what_is_saved():
    assert not any("items." in name or "users." in name for name in model().state_dict())
    assert len(DeviceTable(table("item", 5))) == 5


def test_a_model_without_profile_features_takes_profile_tokens():
    schema = FeatureSchema(num_users=USERS, num_items=ITEMS)
    network = TencentGR(TencentGRShape(hidden_size=16, max_history=5), schema).use(bare("item"), bare("user")).eval()
    assert states(network, batch(*HISTORIES)).isfinite().all()


def bare(side: str):
    whole = table(side, ITEMS + 1)
    return replace(
        whole,
        sparse=whole.sparse[:, :0],
        array=whole.array[:, :0],
        continual=whole.continual[:, :0],
        emb={},
        semantic=None,
    )


def objective(loss: str = "bce", mix: NegativeMix | None = None, **knobs) -> Objective:
    network = model(**knobs)
    user = torch.tensor([row for row, items in enumerate(HISTORIES) for _ in items])
    item = torch.tensor([i for items in HISTORIES for i in items])
    counts = torch.bincount(item, minlength=ITEMS + 1)
    sampler = NegativeSampler(counts, (user, item), len(HISTORIES), mix or NegativeMix(), 0.75)
    return Objective(network, sampler, loss, 3, 0.1)


def test_bce_of_a_batch_is_the_published_formula(monkeypatch):
    network, rows = objective(), batch(*HISTORIES)
    drawn = torch.randint(1, ITEMS + 1, (3, 6, 3))
    wanted = rows["next_token_type"] == 1
    monkeypatch.setattr(network.sampler, "forward", lambda users, k, progress: drawn[wanted])
    good, bad = network.model(rows, drawn)
    criterion = torch.nn.BCEWithLogitsLoss()
    expected = criterion(good[wanted], torch.ones_like(good[wanted]))
    expected += criterion(bad[wanted], torch.zeros_like(bad[wanted]))
    assert torch.allclose(network(rows), expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["bce", "infonce", "sampled", "full"])
@pytest.mark.parametrize("mix", [NegativeMix(), NegativeMix(smart=True, candidates=4)])
def test_every_loss_learns_the_toy(loss, mix):
    network, rows = objective(loss, mix), batch(*HISTORIES)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    torch.manual_seed(0)
    first = network(rows, 0.5)
    for _ in range(30):
        optimizer.zero_grad()
        loss_now = network(rows, 0.5)
        loss_now.backward()
        optimizer.step()
    assert first.isfinite() and loss_now < 0.7 * first


def test_learned_temperature_moves_and_starts_where_it_is_told():
    network = objective("infonce")
    network = Objective(network.model, network.sampler, "infonce", 1, 0.1, learnable_temperature=True)
    assert network.temperature().item() == pytest.approx(0.1)
    network(batch(*HISTORIES)).backward()
    assert network.log_temperature.grad.abs() > 0


def test_a_scheduled_temperature_moves_by_equal_factors():
    given = objective("full")
    network = Objective(given.model, given.sampler, "full", 1, 1.0, temperature_end=0.25)
    assert [network.temperature(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.25]
    halfway = Objective(given.model, given.sampler, "full", 1, 0.5)
    assert network(batch(*HISTORIES), 0.5).item() == pytest.approx(halfway(batch(*HISTORIES)).item(), abs=1e-6)


def test_l2_is_the_norm_of_the_item_vectors():
    network = objective("full")
    other = Objective(network.model, network.sampler, "full", 1, 0.1, l2_emb=0.5)
    difference = other(batch(*HISTORIES)) - network(batch(*HISTORIES))
    assert difference.item() == pytest.approx(0.5 * network.model.item_tower.id.weight.norm().item(), abs=1e-5)


def test_the_learned_mix_is_read_by_its_published_name():
    mix = model(similarity=("dot", "cosine", "scaled"), adaptive=True).adaptive_similarity
    assert [mix.alpha.item(), mix.beta.item()] == pytest.approx([0.5, 0.3])
    assert not hasattr(model(), "adaptive_similarity")
