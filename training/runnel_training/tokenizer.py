"""A run's tokenizer is a GGUF file without tensors, OUTPUT/tokenizer.gguf: trained on the texts, or the one of a model."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np

from .config import Config, ConfigError

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # token types of the format


def train_sentencepiece(texts: list[Path], size: int, prefix: Path) -> None:
    """BPE with byte fallback; 0 is <unk>, 1 is BOS, 2 is EOS. Texts pass as they are."""
    import sentencepiece

    def lines():
        for path in texts:
            for line in path.read_text(encoding="utf-8").splitlines():
                yield from (line[i : i + 2000] for i in range(0, len(line), 2000))

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(), model_prefix=str(prefix), vocab_size=size, model_type="bpe", byte_fallback=True,
        character_coverage=0.9999, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, input_sentence_size=1_000_000, shuffle_input_sentence=False, num_threads=1,
        minloglevel=2)


def write_vocabulary(model: Path, out: Path) -> None:
    import sentencepiece

    sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ids = range(sp.vocab_size())
    kinds = [UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL
             for i in ids]
    w = gguf.GGUFWriter(str(out), "llama")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([sp.id_to_piece(i).encode() for i in ids])
    w.add_token_scores([sp.get_score(i) for i in ids])
    w.add_token_types(kinds)
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    w.add_add_eos_token(False)
    w.add_add_space_prefix(True)
    finish(w)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def field_value(field: gguf.ReaderField):
    """A metadata value as GGUFWriter.add_key_value takes it: a number, bytes, or a list of these."""
    is_text = field.types[-1] == gguf.GGUFValueType.STRING
    values = [bytes(field.parts[i]) if is_text else field.parts[i][0].item() for i in field.data]
    return values if field.types[0] == gguf.GGUFValueType.ARRAY else values[0]


def copy_tokenizer(source: Path, writer: gguf.GGUFWriter, add_bos: bool | None = None) -> None:
    """Every tokenizer.* key; add_bos replaces tokenizer.ggml.add_bos_token."""
    for key, field in gguf.GGUFReader(str(source)).fields.items():
        if key.startswith("tokenizer.") and not (add_bos is not None and key == "tokenizer.ggml.add_bos_token"):
            writer.add_key_value(key, field_value(field), field.types[0])
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)


class Vocabulary:
    def __init__(self, path: Path):
        fields = gguf.GGUFReader(str(path)).fields
        self.path = path
        self.size = len(fields["tokenizer.ggml.tokens"].data)
        bos = fields.get("tokenizer.ggml.bos_token_id")
        self.bos = None if bos is None else int(field_value(bos))


def prepare(config: Config) -> Vocabulary:
    """The run's tokenizer, made when it is not there yet."""
    out = config.output_path / "tokenizer.gguf"
    if not out.exists():
        part = out.with_suffix(".part")
        if config.tokenizer.gguf:
            writer = gguf.GGUFWriter(str(part), "llama")
            copy_tokenizer(config.path(config.tokenizer.gguf), writer)
            finish(writer)
        else:
            prefix = config.output_path / "tokenizer"
            train_sentencepiece(config.files(config.data.texts), config.tokenizer.size, prefix)
            write_vocabulary(prefix.with_suffix(".model"), part)
        part.replace(out)
    vocabulary = Vocabulary(out)
    if "sink" in config.variants and vocabulary.bos is None:
        raise ConfigError(f"variants: want a BOS for the sink token, and {config.tokenizer.gguf} has none")
    return vocabulary


def encode(config: Config, path: Path) -> np.ndarray:
    """The ids of one text, without BOS: by sentencepiece, or by runnel with the tokenizer of another model."""
    if config.tokenizer.gguf:
        return _encode_by_runnel(config, path)
    import sentencepiece

    sp = sentencepiece.SentencePieceProcessor(model_file=str(config.output_path / "tokenizer.model"))
    return np.array(sp.encode(path.read_text(encoding="utf-8")), dtype=np.uint32)


def _encode_by_runnel(config: Config, path: Path) -> np.ndarray:
    program = shutil.which(config.tokenizer.runnel) or shutil.which(config.path(config.tokenizer.runnel))
    if program is None:
        raise ConfigError(f"tokenizer.runnel: want the program, found nothing at {config.tokenizer.runnel}")
    with tempfile.TemporaryFile("w+") as ids:
        subprocess.run([program, "tokenize", config.output_path / "tokenizer.gguf", path, "--no-bos"],
                       stdout=ids, check=True)
        ids.seek(0)
        return np.array(ids.read().split(), dtype=np.uint32)
