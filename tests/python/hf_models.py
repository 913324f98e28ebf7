"""Tiny random models as transformers saves them, and what transformers says about them. As a program it makes the
fixtures of tests/hf_folder_test.cpp:  python tests/python/hf_models.py tests/fixtures/hf
and those of test_hf.py:  python tests/python/hf_models.py --all FOLDER"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from hf_kinds import CONFIGS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TOKENS = [1, 7, 300, 42, 42, 5, 199, 260, 33, 8, 77, 140]


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
    model = model_of(CONFIGS[name](transformers), dtype)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    logits_of(model).astype(np.float32).tofile(folder / "logits.f32")
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<|endoftext|>"}))
        expected = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
        (folder / "tokens.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")


def save_all(folder):
    """Every kind that this transformers has, of every type: folder/KIND/TYPE."""
    for name in CONFIGS:
        for dtype in ("float32", "float16", "bfloat16"):
            try:
                save(Path(folder) / name / dtype, name, getattr(torch, dtype))
            except AttributeError as error:
                print(f"transformers {transformers.__version__}: {error}", file=sys.stderr)


def save_fixtures(folder):
    save(folder / "llama", "llama", torch.bfloat16, byte_level_tokenizer())
    save(folder / "qwen2", "qwen2", torch.float16, sentencepiece_like_tokenizer())
    for name in ("gemma", "gemma2", "qwen3", "gemma3", "qwen2-local"):
        save(folder / name, name, torch.bfloat16)
    for name in ("gptneox", "gptneox-serial", "falcon", "mpt"):
        save(folder / name, name, torch.float16)


if __name__ == "__main__":
    if sys.argv[1] == "--all":
        save_all(sys.argv[2])
    else:
        save_fixtures(Path(sys.argv[1]))
