#!/usr/bin/env python3
"""Reads 512 random tokens and writes 64 with ik_llama.cpp's Python binding; for bench/peers.sh.

    peer_ik.py MODEL THREADS        prints: tokens read a second, tokens written a second
"""
import random
import sys
import time

from ik_llama_cpp import _ctypes_api as api
from ik_llama_cpp import llama

N_READ, N_WRITE = 512, 64


def decode(context, batch):
    if context.decode(batch) != 0:
        sys.exit("peer_ik.py: a step failed")
    api.llama_batch_free(batch)


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    engine = llama.IkLlama(path, n_ctx=1024, n_threads=threads, verbose=False)
    context = engine._context
    words = random.Random(1)
    best = [0.0, 0.0]
    for _ in range(2):  # the first one warms up
        context.kv_cache_clear()
        prompt = [words.randrange(100, 30000) for _ in range(N_READ)]
        begin = time.perf_counter()
        decode(context, llama.make_batch_range(prompt, pos_start=0, logits_last=True))
        context.get_logits(-1)
        read = time.perf_counter()
        for position in range(N_READ, N_READ + N_WRITE):
            decode(context, llama.make_batch_single(words.randrange(100, 30000), position))
            context.get_logits(-1)
        end = time.perf_counter()
        best = [N_READ / (read - begin), N_WRITE / (end - read)]
    print(f"{best[0]:.1f} {best[1]:.1f}")


main()
