"""A trained model as a GGUF file that says by itself how it is to be run.

tokenizer.ggml.add_bos_token   true for the variant with a sink token, and false for the others
runnel.attention.softmax       "off-by-one" for the variant with the zero sink, "standard" for the others
"""

from pathlib import Path

import gguf
import numpy as np

from .model import Llama
from .tokenizer import copy_tokenizer, finish

TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def _add_shape(writer: gguf.GGUFWriter, model: Llama) -> None:
    s = model.shape
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.dim)
    writer.add_block_count(s.layers)
    writer.add_feed_forward_length(s.ffn)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_key_length(s.head_dim)
    writer.add_value_length(s.head_dim)
    writer.add_layer_norm_rms_eps(s.norm_epsilon)
    writer.add_rope_dimension_count(s.head_dim)
    writer.add_rope_freq_base(s.rope_base)
    writer.add_vocab_size(model.token_embd.num_embeddings)


def _add_weight(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, kind: gguf.GGMLQuantizationType) -> None:
    if weight.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
        writer.add_tensor(name, weight)
    elif kind == gguf.GGMLQuantizationType.F16:
        writer.add_tensor(name, weight.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)


def export(model: Llama, tokenizer: Path, out: Path, type_name: str, tokens_seen: int) -> None:
    kind, file_type = TYPES[type_name]
    part = out.with_suffix(".part")
    writer = gguf.GGUFWriter(str(part), "llama")
    writer.add_name(out.stem.rsplit("-", 1)[0])
    writer.add_description(f"Trained from scratch with {model.variant}, {tokens_seen} tokens")
    writer.add_file_type(file_type)
    _add_shape(writer, model)
    copy_tokenizer(tokenizer, writer, add_bos=model.variant == "sink")
    writer.add_string("runnel.attention.softmax", "off-by-one" if model.variant == "zero" else "standard")
    for name, weight in model.state_dict().items():
        _add_weight(writer, name, np.ascontiguousarray(weight.detach().float().cpu().numpy()), kind)
    finish(writer)
    part.replace(out)
