"""Model shapes that several benchmarks measure."""

# Qwen2.5-0.5B without its vocabulary, as arguments of Qwen2Config.
HALF_B = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "rope_theta": 1e6,
}
HALF_B_VOCABULARY = 151936  # text tokens; SID tokens come on top
