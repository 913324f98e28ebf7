#!/usr/bin/env python3
"""Writes src/kernels/pack/codebooks.h and tests/fixtures/blocks/*.bin.

Both come from the public package `gguf` (MIT licence), the reading and writing side of the ggml project: the header has
the tables that belong to the formats, the fixtures are random blocks with the weights that the package makes of them.

  build/venv/bin/python scripts/make-codebooks.py
"""
import pathlib

import gguf
import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType as Type

ROOT = pathlib.Path(__file__).resolve().parent.parent
N_BLOCKS = 6

HEADER = """// The vectors that weights of the IQ types are taken from, as tables of the format.
//
// Made by scripts/make-codebooks.py from the package `gguf` of the ggml project (copyright (c) 2023-2024 The ggml
// authors, MIT licence). Entry i is a vector; its element j is the number of a value, in kBits bits from bit j * kBits up.
#pragma once

#include <cstdint>

namespace runnel::kernels {
"""


def table(name, cls):
    """The grid of a class as numbers of its values."""
    cls.init_grid()
    grid = cls.grid.reshape(cls.grid_shape)
    values = list(cls.grid_map)
    bits = 2 if len(values) <= 4 else 3
    packed = [sum(values.index(int(v)) << (bits * j) for j, v in enumerate(row)) for row in grid]
    lines = [f"inline constexpr int k{name}Values[] = {{{', '.join(map(str, values))}}};",
             f"inline constexpr std::uint16_t k{name}[{len(packed)}] = {{"]
    for i in range(0, len(packed), 12):
        lines.append("    " + " ".join(f"0x{p:04x}," for p in packed[i:i + 12]))
    return "\n" + "\n".join(lines + ["};\n"])


def finite_half(rng, n):
    """Bytes of n random half-precision numbers that are neither tiny nor endless."""
    values = rng.uniform(0.01, 8, n) * rng.choice([-1, 1], n)
    return values.astype(np.float16).view(np.uint8).reshape(n, 2)


def random_blocks(kind, rng):
    _, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (N_BLOCKS, n_bytes), dtype=np.uint8)
    if kind == Type.IQ1_M:  # four bits of the scale in each of four words
        words = blocks[:, 48:56].copy().view(np.uint16)
        scale = finite_half(rng, N_BLOCKS).copy().view(np.uint16).reshape(-1)
        for i in range(4):
            words[:, i] = (words[:, i] & 0x0FFF) | (((scale >> (4 * i)) & 15) << 12)
        blocks[:, 48:56] = words.view(np.uint8)
    elif kind == Type.NVFP4:
        blocks[:, :4] &= 0x7F  # the scales have no sign
        blocks[0, 0], blocks[0, 1] = 0x7F, 0
    else:
        at = {Type.TQ1_0: 52, Type.TQ2_0: 64}.get(kind, 0)
        blocks[:, at:at + 2] = finite_half(rng, N_BLOCKS)
    return blocks


def main():
    text = HEADER
    for name, cls in [("Iq2Xxs", quants.IQ2_XXS), ("Iq2Xs", quants.IQ2_XS), ("Iq2S", quants.IQ2_S),
                      ("Iq3Xxs", quants.IQ3_XXS), ("Iq3S", quants.IQ3_S), ("Iq1", quants.IQ1_S)]:
        text += table(name, cls)
    text += "\n}  // namespace runnel::kernels\n"
    (ROOT / "src/kernels/pack/codebooks.h").write_text(text)

    out = ROOT / "tests/fixtures/blocks"
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in ("IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 NVFP4").split():
        blocks = random_blocks(Type[name], rng)
        weights = gguf.dequantize(blocks, Type[name]).astype(np.float32)
        assert np.isfinite(weights).all(), name
        (out / f"{name}.bin").write_bytes(blocks.tobytes() + weights.tobytes())


if __name__ == "__main__":
    main()
