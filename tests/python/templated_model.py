"""The bundled model with another template, and the template's marks as control tokens of its vocabulary."""
from pathlib import Path

import gguf

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "novella-7m-q8_0.gguf"
TEMPLATES = ROOT / "tests" / "fixtures" / "templates"
TOKENS, KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
TEMPLATE, EOS = "tokenizer.chat_template", "tokenizer.ggml.eos_token_id"


def write(path, template, marks=(), eos=None):
    """The vocabulary's last tokens become the marks; one of them may be its end of a text."""
    reader = gguf.GGUFReader(MODEL)
    values = {name: (field.contents(), field.types[0], field.types[-1]) for name, field in reader.fields.items()
              if not name.startswith("GGUF.")}
    tokens, kinds = values[TOKENS][0], values[KINDS][0]
    if marks:
        tokens[-len(marks):], kinds[-len(marks):] = marks, [gguf.TokenType.CONTROL] * len(marks)
    values[TEMPLATE] = (template, gguf.GGUFValueType.STRING, None)
    if eos is not None:
        values[EOS] = (tokens.index(eos), gguf.GGUFValueType.UINT32, None)
    writer = gguf.GGUFWriter(path, values["general.architecture"][0])
    for name, (value, kind, inner) in values.items():
        if name != "general.architecture":
            writer.add_key_value(name, value, kind, inner if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes,
                               tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()
    return str(path)


def chatml(path):
    return write(path, (TEMPLATES / "hermes-tools.jinja").read_text(), ["<|im_start|>", "<|im_end|>"], "<|im_end|>")


# Of each family: its template, marks, and end.
FAMILIES = {
    "qwen": ("hermes-tools", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "qwen3": ("thinking-history", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "llama3": ("header-ids", ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"], "<|eot_id|>"),
    "mistral": ("inst-tools", ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
                               "[TOOL_RESULTS]", "[/TOOL_RESULTS]"], None),
    "gpt-oss": ("channels", ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>",
                             "<|call|>"], "<|return|>"),
    "chatml": ("chatml-default-system", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
}


def family(folder, name):
    template, marks, eos = FAMILIES[name]
    return write(folder / f"{name}.gguf", (TEMPLATES / f"{template}.jinja").read_text(), marks, eos)
