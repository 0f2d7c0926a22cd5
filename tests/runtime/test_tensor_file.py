import pytest
import torch
from safetensors.torch import load_file

from genrec.errors import ArtifactError
from genrec.runtime.tensor_file import (
    MODEL,
    checksum,
    load_weights,
    pack_state,
    read_state,
    read_tensors,
    select,
    unpack_state,
    write_tensors,
)


def stepped(steps, model=None, optimizer=None):
    """A layer and its AdamW after so many steps on fixed rows."""
    torch.manual_seed(0)
    model = model or torch.nn.Linear(3, 2)
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.arange(6.0).view(2, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("name", ["optimizer", "optimizer.one"])
def test_a_step_after_reading_is_the_step_that_would_have_followed(name, tmp_path):
    model, optimizer = stepped(3)
    write_tensors(tmp_path / "f", pack_state({"model": model}, {name: optimizer}), "at", {"step": 3})
    names = {f"{name}.{number}.{moment}" for number in (0, 1) for moment in ("step", "exp_avg", "exp_avg_sq")}
    assert load_file(tmp_path / "f").keys() == {"model.weight", "model.bias"} | names

    other, its = stepped(0)
    its.param_groups[0]["lr"] = 0.01
    tensors, header = read_state(tmp_path / "f", "at")
    unpack_state(tensors, {"model": other}, {name: its})
    assert header == {"step": 3} and its.param_groups[0]["lr"] == 0.01  # rates belong to the schedule
    its.param_groups[0]["lr"] = 0.1
    stepped(1, model, optimizer), stepped(1, other, its)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_several_modules_and_optimizers_lie_beside_each_other():
    states = {name: stepped(steps) for name, steps in {"model": 1, "bank": 2}.items()}
    modules = {name: model for name, (model, _) in states.items()}
    optimizers = {f"optimizer.{name}": optimizer for name, (_, optimizer) in states.items()}
    tensors = pack_state(modules, optimizers)
    fresh = {name: stepped(0) for name in states}
    unpack_state(tensors, {name: model for name, (model, _) in fresh.items()},
                 {f"optimizer.{name}": optimizer for name, (_, optimizer) in fresh.items()})  # fmt: skip
    again = pack_state({name: model for name, (model, _) in fresh.items()},
                       {f"optimizer.{name}": optimizer for name, (_, optimizer) in fresh.items()})  # fmt: skip
    assert again.keys() == tensors.keys() and all(torch.equal(again[key], tensors[key]) for key in tensors)
    assert select(MODEL, tensors).keys() == {"weight", "bias"}


def test_shared_and_turned_tensors_are_written_each_on_its_own(tmp_path):
    table = torch.arange(6.0).view(2, 3)
    write_tensors(tmp_path / "new" / "f", {"a": table, "b": table, "turned": table.T}, "k", None)
    found, header = read_tensors(tmp_path / "new" / "f", "k")
    assert header is None and torch.equal(found["b"], table) and torch.equal(found["turned"], table.T)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["f"]


def test_a_broken_file_and_one_without_the_header_are_refused(tmp_path):
    write_tensors(tmp_path / "f", {"a": torch.zeros(9)}, "k", 1)
    assert read_tensors(tmp_path / "f", "other")[1] is None
    with pytest.raises(ArtifactError, match="f is no checkpoint of this trainer: its header has no 'other'"):
        read_state(tmp_path / "f", "other")
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="f cannot be read"):
        read_tensors(tmp_path / "f", "k")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bias": None}, "file lacks the tensor 'bias'; put the file back"),
        ({"bias": None, "weight": None}, "file lacks the tensor 'bias' and 1 more; put"),
        ({"more": torch.zeros(1)}, "file has the tensor 'more', which the model has not; put"),
        ({"bias": torch.zeros(3)}, r"file has the tensor 'bias' as \(3,\), the model as \(2,\)"),
        ({"bias": torch.tensor([1.0, float("nan")])}, "file: 1 of 2 values of 'bias' are no finite numbers"),
    ],
)
def test_a_model_is_loaded_whole_or_refused_by_the_name_of_the_tensor(change, said):
    layer = torch.nn.Linear(3, 2)
    tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    load_weights(layer, tensors, "file")
    assert layer.bias.tolist() == [1, 1]
    tensors = {name: value for name, value in (tensors | change).items() if value is not None}
    with pytest.raises(ArtifactError, match=said) as caught:
        load_weights(torch.nn.Linear(3, 2), tensors, "file")
    assert "\n" not in str(caught.value)


def test_a_checksum_follows_every_value_and_name():
    tensors = {"a": torch.arange(3.0), "b": torch.tensor([True, False]), "c": torch.tensor(1, dtype=torch.bfloat16)}
    whole = checksum(tensors)
    assert whole == checksum(dict(reversed(tensors.items())))
    for change in ({"a": torch.tensor([0.0, 1.0, 3.0])}, {"b": torch.tensor([True, True])}, {"d": tensors["c"]}):
        assert checksum(tensors | change) != whole
