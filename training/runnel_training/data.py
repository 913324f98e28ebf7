"""Texts as one long array of token ids, and crops of it that depend on the seed and the step alone."""

from pathlib import Path

import numpy as np

from . import tokenizer
from .config import Config, ConfigError


def prepare(config: Config, patterns: list[str], name: str) -> np.ndarray:
    """The ids of the texts, kept in OUTPUT/NAME.npy and mapped from there."""
    out = config.output_path / f"{name}.npy"
    if not out.exists():
        ids = np.concatenate([tokenizer.encode(config, path) for path in config.files(patterns)])
        part = Path(f"{out}.part")
        with part.open("wb") as file:
            np.save(file, ids)
        part.replace(out)
    ids = np.load(out, mmap_mode="r")
    if len(ids) <= config.model.context:
        raise ConfigError(f"data: want more tokens than the context of {config.model.context}, found {len(ids)}")
    return ids


def crops(ids: np.ndarray, seed: int, step: int, batch: int, length: int) -> np.ndarray:
    """[batch, length], the same for every variant, however the run was stopped and continued."""
    starts = np.random.default_rng([seed, step]).integers(0, len(ids) - length, batch)
    return np.stack([ids[start : start + length] for start in starts]).astype(np.int64)


def held_out_crops(ids: np.ndarray, most: int, length: int) -> np.ndarray:
    """At most `most` crops, evenly spread."""
    starts = np.linspace(0, len(ids) - length, min(most, len(ids) // length)).astype(np.int64)
    return np.stack([ids[start : start + length] for start in starts]).astype(np.int64)
