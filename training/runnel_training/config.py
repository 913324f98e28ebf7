"""One TOML file says everything about a run; training/table3.toml shows every setting."""

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from . import VARIANTS


class ConfigError(Exception):
    """What is wrong with a configuration: the setting, what was wanted, what was found."""


@dataclass(frozen=True)
class Data:
    texts: list[str]
    held_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tokenizer:
    size: int = 4096
    gguf: str = ""
    runnel: str = "runnel"


@dataclass(frozen=True)
class Model:
    dim: int = 320
    layers: int = 10
    heads: int = 5
    kv_heads: int = 0  # 0: as heads
    head_dim: int = 0  # 0: dim / heads
    ffn: int = 896
    context: int = 512
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5
    tied: bool = True


@dataclass(frozen=True)
class Training:
    steps: int = 1000
    batch: int = 16
    rate: float = 3e-3
    warmup: int = 100
    last_rate: float = 0.03
    decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    log_every: int = 50
    checkpoint_every: int = 500


@dataclass(frozen=True)
class Export:
    types: list[str] = field(default_factory=lambda: ["q8_0"])


@dataclass(frozen=True)
class Config:
    output: str
    data: Data
    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    training: Training = Training()
    export: Export = Export()
    folder: Path = Path(".")  # paths are relative to it

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def output_path(self) -> Path:
        return self.path(self.output)

    def files(self, patterns: list[str]) -> list[Path]:
        """The files of a list of names and patterns, in order; each must name some."""
        found = []
        for pattern in patterns:
            matches = sorted(self.folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
            if not matches or not all(m.is_file() for m in matches):
                raise ConfigError(f"data: want files, found none for {pattern!r} in {self.folder}")
            found += matches
        return found

    def fingerprint(self, variant: str) -> str:
        """What must be the same for a checkpoint to be continued; not how often it reports."""
        training = dataclasses.asdict(self.training)
        for name in ("log_every", "checkpoint_every", "compile", "device"):
            del training[name]
        said = [variant, dataclasses.asdict(self.data), dataclasses.asdict(self.tokenizer),
                dataclasses.asdict(self.model), training]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _section(kind, name: str, values):
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: want a table, found {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{name}.{key}: want one of {', '.join(fields)}")
        wanted = getattr(fields[key].type, "__origin__", fields[key].type)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            values = {**values, key: float(value)}
        elif not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ConfigError(f"{name}.{key}: want {wanted.__name__}, found {value!r}")
    return values


def _check(holds: bool, setting: str, wanted: str, found) -> None:
    if not holds:
        raise ConfigError(f"{setting}: want {wanted}, found {found!r}")


def _check_values(c: Config) -> None:
    m, t = c.model, c.training
    for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ffn", "context"):
        _check(getattr(m, name) > 0, f"model.{name}", "1 or more", getattr(m, name))
    _check(m.heads % m.kv_heads == 0, "model.kv_heads", f"a divisor of {m.heads} heads", m.kv_heads)
    _check(m.head_dim % 2 == 0, "model.head_dim", "an even number", m.head_dim)
    for name in ("steps", "batch", "log_every", "checkpoint_every"):
        _check(getattr(t, name) > 0, f"training.{name}", "1 or more", getattr(t, name))
    choices = {"device": ("auto", "cpu", "cuda"), "precision": ("auto", "float32", "bfloat16"),
               "compile": ("auto", "yes", "no")}
    for name, known in choices.items():
        _check(getattr(t, name) in known, f"training.{name}", " or ".join(known), getattr(t, name))
    _check(bool(c.variants) and set(c.variants) <= set(VARIANTS), "variants", f"some of {', '.join(VARIANTS)}",
           c.variants)
    known = {"f32", "f16", "q8_0"}
    _check(set(c.export.types) <= known, "export.types", f"some of {', '.join(sorted(known))}", c.export.types)
    if "q8_0" in c.export.types:
        for name, length in {"dim": m.dim, "ffn": m.ffn, "heads * head_dim": m.heads * m.head_dim}.items():
            _check(length % 32 == 0, f"model.{name}", "a multiple of 32, for q8_0", length)
    _check(bool(c.data.texts), "data.texts", "one text or more", c.data.texts)
    _check(bool(c.tokenizer.gguf) or c.tokenizer.size >= 259, "tokenizer.size",
           "259 or more: three control tokens and the bytes", c.tokenizer.size)


def make(values: dict, folder: Path = Path(".")) -> Config:
    kinds = {"data": Data, "tokenizer": Tokenizer, "model": Model, "training": Training, "export": Export}
    for name in ("output", "data"):
        _check(name in values, name, "a value", None)
    _section(Config, "the configuration", {k: v for k, v in values.items() if k not in kinds})
    _check("texts" in values["data"], "data.texts", "one text or more", None)
    made = dict(values)
    for name, kind in kinds.items():
        if name in values:
            made[name] = kind(**_section(kind, name, values[name]))
    config = Config(**made, folder=folder)
    m = config.model
    m = dataclasses.replace(m, kv_heads=m.kv_heads or m.heads, head_dim=m.head_dim or m.dim // max(m.heads, 1))
    config = dataclasses.replace(config, model=m)
    _check_values(config)
    return config


def load(path: Path) -> Config:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    return make(values, path.parent)
