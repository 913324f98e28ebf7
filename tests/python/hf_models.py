"""Tiny random models as transformers saves them, and what transformers says about them. As a program it makes the
fixtures of tests/hf_folder_test.cpp:  python tests/python/hf_models.py tests/fixtures/hf"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TOKENS = [1, 7, 300, 42, 42, 5, 199, 260, 33, 8, 77, 140]
SIZES = dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
LLAMA = dict(SIZES, intermediate_size=48, num_key_value_heads=2, max_position_embeddings=128)


def configs():
    t = transformers
    scaling = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)
    return {
        "llama": t.LlamaConfig(**LLAMA, rope_theta=500000.0, rope_scaling=scaling, tie_word_embeddings=False),
        "mistral": t.MistralConfig(**LLAMA, sliding_window=None),
        "qwen2": t.Qwen2Config(**LLAMA, tie_word_embeddings=True),
        "qwen3": t.Qwen3Config(**LLAMA, head_dim=16, rope_theta=1e6, tie_word_embeddings=True),
        "gemma2": t.Gemma2Config(**LLAMA, head_dim=8, query_pre_attn_scalar=8, sliding_window=8),
        "gemma3": t.Gemma3TextConfig(**dict(LLAMA, num_hidden_layers=3), head_dim=16, query_pre_attn_scalar=16,
                                     sliding_window=8, rope_theta=1e6, rope_local_base_freq=1e4,
                                     layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
        "gptneox": t.GPTNeoXConfig(**SIZES, intermediate_size=64, rotary_pct=0.25, max_position_embeddings=128),
        "falcon": t.FalconConfig(**SIZES, num_kv_heads=2, new_decoder_architecture=True, alibi=False, bias=False),
        "falcon7b": t.FalconConfig(**SIZES, multi_query=True, parallel_attn=True, new_decoder_architecture=False,
                                   alibi=False, bias=False),
        "mpt": t.MptConfig(vocab_size=320, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
    }


def model_of(config, dtype=torch.float32):
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():  # norms and biases too, so that none can be forgotten or exchanged
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.mul_(3)
    return model.to(dtype).eval()


def logits_of(model):
    with torch.no_grad():
        return model.to(torch.float32)(torch.tensor([TOKENS]), use_cache=False).logits[0].numpy()


TEXTS = ["The old man and the sea, 1952.", "  Grüße aus 東京!\n\nI'll 123 times", "it's a dark night"]


def byte_level_tokenizer():
    tokenizer = Tokenizer(models.BPE(ignore_merges=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(
        vocab_size=310, special_tokens=["<|endoftext|>", "<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def sentencepiece_like_tokenizer():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator([TEXTS[0], TEXTS[2]] * 4, trainers.BpeTrainer(
        vocab_size=318, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    saved = json.loads(tokenizer.to_str())  # bytes are no special tokens, in files
    saved["added_tokens"] = [t for t in saved["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(saved))


def save(folder, name, dtype=torch.float32, tokenizer=None):
    """The model, and beside it what transformers says: logits.f32 [tokens, vocabulary], tokens.json."""
    folder = Path(folder)
    model = model_of(configs()[name], dtype)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    logits_of(model).astype(np.float32).tofile(folder / "logits.f32")
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<|endoftext|>"}))
        expected = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
        (folder / "tokens.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    save(target / "llama", "llama", torch.bfloat16, byte_level_tokenizer())
    save(target / "qwen2", "qwen2", torch.float16, sentencepiece_like_tokenizer())
    save(target / "gemma2", "gemma2", torch.bfloat16)
    save(target / "qwen3", "qwen3", torch.bfloat16)
    save(target / "gemma3", "gemma3", torch.bfloat16)
    save(target / "gptneox", "gptneox", torch.float16)
    save(target / "falcon", "falcon", torch.float16)
    save(target / "mpt", "mpt", torch.float16)
