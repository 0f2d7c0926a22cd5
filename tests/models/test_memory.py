"""The estimate of memory: hand-worked sums, counts of models that are really built, and what autograd really keeps."""

import pytest
import torch
from peft import get_peft_model
from transformers import LlamaConfig, Qwen2Config, Qwen2ForCausalLM, Qwen3Config

from genrec.config import QLora
from genrec.errors import ArtifactError
from genrec.models.adapters import lora_config
from genrec.models.memory import (
    GIB,
    MemoryNeed,
    ModelSize,
    Pass,
    bytes_a_token,
    estimate_need,
    measure_size,
    read_size,
    warn_if_larger,
)

SHAPE = dict(
    vocab_size=300,
    hidden_size=64,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def trained(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_a_small_qwen2_by_hand():
    """Table 300 x 64; a layer: q, o 64 x 64, k, v 64 x 32, biases 64 + 32 + 32, three of 64 x 192, norms 2 x 64."""
    size = measure_size(Qwen2Config(**SHAPE, tie_word_embeddings=True))
    linear = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 192
    assert size.in_linear == 2 * linear
    assert size.parameters == 300 * 64 + 2 * (linear + 128 + 128) + 64
    assert (size.width, size.heads_width, size.feed_width, size.num_layers, size.tables) == (64, 64, 192, 2, 1)
    inputs_and_outputs = (64 + 64) + 2 * (64 + 32) + (64 + 64) + 2 * (64 + 192) + (192 + 64)
    assert size.in_adapters(QLora(r=4)) == 2 * 4 * inputs_and_outputs
    assert size.in_adapters(QLora(r=4, targets=["q_proj", "v_proj"])) == 2 * 4 * ((64 + 64) + (64 + 32))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [Qwen2Config, Qwen3Config, LlamaConfig])
def test_counts_are_those_of_the_model_that_is_built(kind, tied):
    from transformers import AutoModelForCausalLM

    config = kind(**SHAPE, tie_word_embeddings=tied)
    size, model = measure_size(config), AutoModelForCausalLM.from_config(config)
    assert size.parameters == count(model)
    rows, tables = list(range(290, 300)), ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    adapted = get_peft_model(model, lora_config(QLora(r=4), {name: rows for name in tables}))
    assert trained(adapted) == size.in_adapters(QLora(r=4)) + size.in_rows(10)


def test_counting_draws_no_random_number():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measure_size(Qwen2Config(**SHAPE))
    assert torch.equal(before, torch.get_rng_state())


def test_a_directory_is_counted_from_its_config_alone(tmp_path):
    Qwen2Config(**SHAPE, tie_word_embeddings=True).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    plain, grown = read_size(str(tmp_path)), read_size(str(tmp_path), new_tokens=48)
    assert grown.parameters == plain.parameters + 48 * 64 and grown.vocabulary == 348


def test_a_config_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ArtifactError, match="cannot be loaded") as caught:
        read_size(str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="not a model directory: it has no config.json"):
        read_size(str(tmp_path / "nowhere"))


SMALL = ModelSize(
    parameters=1000,
    linear=(("up", 20, 40),),
    num_layers=2,
    width=10,
    heads_width=10,
    feed_width=40,
    vocabulary=50,
    tables=1,
)
ONE = Pass(tokens=6, answers=3, choices=50, bf16=True, checkpointing=False)


def test_full_training_by_hand():
    """weights 4 x 1000, gradients as many, moments twice, copies 2 x 800, 6 tokens x 2 layers x (26 + 8 + 32) x 10."""
    need = estimate_need(SMALL, 1000, ONE)
    assert need == MemoryNeed(4000, 4000, 8000, 1600, 6 * 2 * (260 + 80 + 320), 3 * 50 * 14)
    assert need.total == 4000 + 4000 + 8000 + 1600 + 7920 + 2100
    with_reference = estimate_need(SMALL, 1000, ONE, references=1)
    assert with_reference.weights == 8000 and with_reference.total - need.total == 4000


def test_quantised_adapters_by_hand():
    """800 weights at 0.5 + 1/64 + 1/4096 bytes, 200 and 64 adapters at 4; nothing copied."""
    need = estimate_need(SMALL, 64, ONE, QLora(r=1, dropout=0.0, quantize="nf4"))
    assert need.weights == 800 * (0.5 + 0.015625 + 0.000244140625) + 4 * 200 + 4 * 64
    assert (need.gradients, need.optimizer, need.copies) == (256, 512, 0)
    assert need.activations == 6 * 2 * (18 * 10 + 10 * 10 + 8 * 40)


def test_checkpointing_and_float32_by_hand():
    one = Pass(tokens=6, answers=3, choices=50, bf16=False, checkpointing=True, passes=2)
    need = estimate_need(SMALL, 1000, one)
    assert need.copies == 0 and need.logits == 2 * 3 * 50 * 12
    assert need.activations == 2 * 6 * (2 * 4 * 10 + (240 + 160 + 640))
    frozen = estimate_need(SMALL, 64, Pass(6, 3, 50, True, True), QLora(r=1))
    assert frozen.copies == 2 * 800 / 2  # of the one layer that is computed again
    assert frozen.activations == 6 * (80 + 10 * (18 + 5) + 10 * (10 + 1) + 40 * (8 + 1))


def kept_bytes(bf16: bool, lora: QLora | None, checkpointing: bool, num_layers: int, batch: int = 2, length: int = 40):
    """What autograd keeps of one forward pass of a Qwen2, storage by storage, weights and their copies aside."""
    torch.manual_seed(0)
    shape = SHAPE | {"num_hidden_layers": num_layers}
    model = Qwen2ForCausalLM(Qwen2Config(**shape, attn_implementation="sdpa")).train()
    decoder = model.model
    if lora:
        get_peft_model(model, lora_config(lora, {"embed_tokens": [1, 2]}))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = {tuple(shape) for p in model.parameters() for shape in (p.shape, p.shape[::-1])}
    stored, kept = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in stored and tuple(tensor.shape) not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address comes twice
        return tensor

    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None].expand(batch, 1, length, length)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        decoder(torch.randint(0, 300, (batch, length)), attention_mask=mask, use_cache=False)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("lora", [None, QLora(r=4, dropout=0.0)], ids=["whole", "adapters"])
def test_activations_are_what_autograd_keeps(bf16, lora):
    """The mask, sums of softmax and norms and the adapters' few columns are not in the formula: within a tenth."""
    measured = (kept_bytes(bf16, lora, False, 3) - kept_bytes(bf16, lora, False, 2)) / (2 * 40)
    size = measure_size(Qwen2Config(**SHAPE | {"num_hidden_layers": 1}))
    estimated = bytes_a_token(size, Pass(80, 0, 0, bf16, False), lora)
    assert 0.9 * measured < estimated <= measured


def test_with_checkpointing_a_layer_keeps_its_input():
    size = measure_size(Qwen2Config(**SHAPE))
    one = [
        bytes_a_token(measure_size(Qwen2Config(**SHAPE | {"num_hidden_layers": n})), Pass(80, 0, 0, True, True), None)
        for n in (2, 3)
    ]
    measured = (kept_bytes(True, None, True, 3) - kept_bytes(True, None, True, 2)) / (2 * 40)
    assert measured == one[1] - one[0] == 4 * size.width


def test_a_line_says_what_takes_it_and_a_warning_what_there_is():
    need = MemoryNeed(3 * GIB, GIB, 2 * GIB, 0, 0.01 * GIB, 0)
    assert need.describe() == "about 6.0 GiB: weights 3.0, gradients 1.0, optimizer 2.0"
    assert MemoryNeed(GIB / 2, 0, 0, 0, 0, GIB / 4).describe() == "about 768.0 MiB: weights 512.0, logits 256.0"
    device = torch.device("cpu")
    assert warn_if_larger(need, 7 * GIB, device, "") == []
    (line,) = warn_if_larger(need, 5 * GIB, device, "ways on: smaller")
    assert line == "warning: cpu has 5.0 GiB, and the training needs about 6.0; ways on: smaller"
