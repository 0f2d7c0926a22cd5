"""A language model's directory is loaded whole, or refused in one line that names the tensor."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from genrec.errors import ArtifactError
from genrec.models.language import load_pretrained
from genrec.models.loading import count_weights
from tests.training.small_rows import make_small_texts, make_small_tokenizer

FINAL, DOWN = "model.norm.weight", "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def directory(request, tmp_path_factory):
    path, tokenizer = tmp_path_factory.mktemp("model"), make_small_tokenizer(make_small_texts())
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=request.param, **shape)
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def tensors(directory):
    """The model's tensors; its file is whole again after the test."""
    path = directory / "model.safetensors"
    content = path.read_bytes()
    yield load_file(path)
    path.write_bytes(content)


def load(directory, tensors=None):
    if tensors is not None:
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    return load_pretrained(str(directory), torch.float32)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({FINAL: None}, f"it lacks the tensor '{FINAL}'; get its files again"),
        ({FINAL: None, DOWN: None}, f"it lacks the tensor '{DOWN}' and 1 more;"),
        ({"more": torch.zeros(2)}, "it has more than its config.json asks for: the tensor 'more';"),
        ({FINAL: torch.ones(3)}, rf"the tensor '{FINAL}' is \(3,\), its config.json asks for \(16,\);"),
        ({FINAL: torch.full((16,), torch.nan)}, f"16 of 16 values of '{FINAL}' are no finite numbers"),
    ],
)
def test_a_tensor_that_is_missing_added_of_another_shape_or_not_finite(directory, tensors, capfd, change, said):
    changed = {name: value for name, value in (tensors | change).items() if value is not None}
    with pytest.raises(ArtifactError, match=said) as caught:
        load(directory, changed)
    assert "\n" not in str(caught.value)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def test_a_head_that_is_tied_is_not_missing_and_one_that_is_not_is(directory, tensors):
    headless = {name: value for name, value in tensors.items() if name != "lm_head.weight"}
    if "lm_head.weight" in tensors:
        with pytest.raises(ArtifactError, match="it lacks the tensor 'lm_head.weight'"):
            load(directory, headless)
    else:
        model = load(directory, headless | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
        assert torch.equal(model.lm_head.weight, tensors["model.embed_tokens.weight"])


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: bytes(len(b))])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_one_line(directory, name, damage):
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(damage(content))
    try:
        with pytest.raises(ArtifactError, match="cannot be loaded: ") as caught:
            load(directory)
        assert "\n" not in str(caught.value)
    finally:
        (directory / name).write_bytes(content)


def test_weights_are_counted_by_the_heads_of_their_files(tmp_path):
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    assert count_weights(tmp_path) == 17
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    assert count_weights(tmp_path) == count_weights(tmp_path / "none") == 0
