"""The kinds of tiny models that hf_models.py makes with transformers; without it, their names."""

SIZES = dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
LLAMA = dict(SIZES, intermediate_size=48, num_key_value_heads=2, max_position_embeddings=128)


def rope_of_llama3():
    return dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32)


def gptneox(t, **options):
    return t.GPTNeoXConfig(**SIZES, intermediate_size=64, max_position_embeddings=128, **options)


def falcon(t, **options):
    return t.FalconConfig(**SIZES, alibi=False, bias=False, **options)


def qwen2_local(t):
    config = t.Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=6, max_window_layers=1)
    if not hasattr(config, "layer_types"):
        raise AttributeError("Qwen 2 has a window in every layer there, against its configuration")
    return config


# Each by a function of the module transformers, since older ones do not have all.
CONFIGS = {
    "llama": lambda t: t.LlamaConfig(**LLAMA, rope_theta=500000.0, rope_scaling=rope_of_llama3(), tie_word_embeddings=False),
    "llama-biases": lambda t: t.LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama-linear": lambda t: t.LlamaConfig(**LLAMA, rope_scaling=dict(rope_type="linear", factor=2.0)),
    "llama-yarn": lambda t: t.LlamaConfig(
        **LLAMA, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128)),
    "mistral": lambda t: t.MistralConfig(**LLAMA, sliding_window=None),
    "mistral-local": lambda t: t.MistralConfig(**LLAMA, sliding_window=6),
    "qwen2": lambda t: t.Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen2-local": lambda t: qwen2_local(t),
    "qwen3": lambda t: t.Qwen3Config(**LLAMA, head_dim=16, rope_theta=1e6, tie_word_embeddings=True),
    "gemma": lambda t: t.GemmaConfig(**LLAMA, head_dim=16),
    "gemma2": lambda t: t.Gemma2Config(**LLAMA, head_dim=8, query_pre_attn_scalar=8, sliding_window=8),
    "gemma3": lambda t: t.Gemma3TextConfig(
        **dict(LLAMA, num_hidden_layers=3), head_dim=16, query_pre_attn_scalar=16, sliding_window=8, rope_theta=1e6,
        rope_local_base_freq=1e4, layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
    "gptneox": lambda t: gptneox(t, rotary_pct=0.25),
    "gptneox-serial": lambda t: gptneox(t, rotary_pct=1.0, use_parallel_residual=False, hidden_act="gelu_new"),
    "falcon": lambda t: falcon(t, num_kv_heads=2, new_decoder_architecture=True),
    "falcon7b": lambda t: falcon(t, multi_query=True, parallel_attn=True, new_decoder_architecture=False),
    "mpt": lambda t: t.MptConfig(vocab_size=320, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
}
# Their GELU is by erf there and by tanh here, as in GGUF files.
GELU_BY_ERF = ("gptneox", "falcon", "falcon7b", "mpt")
