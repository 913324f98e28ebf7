"""The Llama architecture, as short as it gets, in the layout of GGUF files: a weight's name and rows are the file's.

`forward` is for training on crops. `stream_nll` says from the definition what each token of a stream is worth when
the cache keeps sinks and a window; it is what an exported model must agree with.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .config import Model as Shape


def rope_angles(shape: Shape, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of positions 0 to n - 1, each [n, head_dim / 2], computed in double."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    angles = torch.arange(n, dtype=torch.float64)[:, None] * shape.rope_base ** -exponents
    return angles.cos().float(), angles.sin().float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [..., n, head_dim]; the two numbers of a pair lie side by side."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class RmsNorm(nn.Module):
    def __init__(self, dim: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.epsilon = epsilon

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def causal_attention(q, k, v):
    """q, k, v [batch, heads, n, head_dim]: each query sees its own key and those before it."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    n = q.shape[-2]
    future = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.transpose(-2, -1)).float() / math.sqrt(q.shape[-1])
    return scores.masked_fill(future, -math.inf).softmax(-1).to(v.dtype) @ v


class Block(nn.Module):
    def __init__(self, shape: Shape, is_zero_sink: bool):
        super().__init__()
        self.shape, self.is_zero_sink = shape, is_zero_sink
        q_dim, kv_dim = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.attn_norm = RmsNorm(shape.dim, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.dim, q_dim, bias=False)
        self.attn_k = nn.Linear(shape.dim, kv_dim, bias=False)
        self.attn_v = nn.Linear(shape.dim, kv_dim, bias=False)
        self.attn_output = nn.Linear(q_dim, shape.dim, bias=False)
        self.ffn_norm = RmsNorm(shape.dim, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.ffn_up = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.ffn_down = nn.Linear(shape.ffn, shape.dim, bias=False)

    def heads(self, x):
        """q, k, v of the normed x [batch, n, dim]: [batch, heads, n, head_dim], with a key for each query head."""
        s = self.shape
        q, k, v = (w(x).view(*x.shape[:2], -1, s.head_dim).transpose(1, 2)
                   for w in (self.attn_q, self.attn_k, self.attn_v))
        group = s.heads // s.kv_heads
        return q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)

    def feed_forward(self, x):
        x = self.ffn_norm(x)
        return self.ffn_down(F.silu(self.ffn_gate(x)) * self.ffn_up(x))

    def merge(self, y):
        """[batch, heads, n, head_dim] -> [batch, n, dim]"""
        return self.attn_output(y.transpose(1, 2).flatten(2))

    def forward(self, x, cos, sin):
        q, k, v = self.heads(self.attn_norm(x))
        q, k = rotate(q.float(), cos, sin).to(v.dtype), rotate(k.float(), cos, sin).to(v.dtype)
        if self.is_zero_sink:  # slot 0 has a key and a value of zeros; its own query is dropped
            y = causal_attention(*(F.pad(t, (0, 0, 1, 0)) for t in (q, k, v)))[:, :, 1:]
        else:
            y = causal_attention(q, k, v)
        x = x + self.merge(y)
        return x + self.feed_forward(x)

    def stream(self, x, angles, sinks: int, window: int):
        """As forward, for a query that sees the first `sinks` tokens, the `window` before it and itself."""
        n = x.shape[1]
        cos, sin = angles
        position = torch.arange(n, device=x.device)
        in_cache = position.clamp(max=sinks + window)
        age = position[:, None] - position[None]
        seen = (age >= 0) & ((age <= window) | (position < sinks)[None])
        q, k, v = self.heads(self.attn_norm(x))
        k = rotate(k, cos, sin)
        scores = rotate(q, cos, sin) @ k.transpose(-2, -1)
        if sinks:
            scores[..., :sinks] = rotate(q, cos[in_cache], sin[in_cache]) @ k[..., :sinks, :].transpose(-2, -1)
        scores = (scores / math.sqrt(self.shape.head_dim)).masked_fill(~seen, -math.inf)
        weights = F.pad(scores, (1, 0)).softmax(-1)[..., 1:] if self.is_zero_sink else scores.softmax(-1)
        x = x + self.merge(weights @ v)
        return x + self.feed_forward(x)


class Llama(nn.Module):
    def __init__(self, shape: Shape, vocabulary: int, variant: str, sink_token: int, seed: int = 0):
        super().__init__()
        self.shape, self.variant, self.sink_token = shape, variant, sink_token
        self.token_embd = nn.Embedding(vocabulary, shape.dim)
        self.blk = nn.ModuleList(Block(shape, variant == "zero") for _ in range(shape.layers))
        self.output_norm = RmsNorm(shape.dim, shape.norm_epsilon)
        self.output = None if shape.tied else nn.Linear(shape.dim, vocabulary, bias=False)
        cos, sin = rope_angles(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int):
        """The same weights for every variant."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            into_residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
            deviation = 0.02 / math.sqrt(2 * self.shape.layers) if into_residual else 0.02
            weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)

    def logits(self, x):
        weight = self.token_embd.weight if self.output is None else self.output.weight
        return F.linear(self.output_norm(x), weight)

    def forward(self, crops):
        """Mean loss of crops [batch, context]. The sink token predicts the first token of a crop; others do not."""
        inputs, wanted = crops[:, :-1], crops[:, 1:]
        if self.variant == "sink":
            inputs, wanted = torch.cat((torch.full_like(crops[:, :1], self.sink_token), inputs), 1), crops
        x = self.token_embd(inputs)
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for block in self.blk:
            x = block(x, cos, sin)
        return F.cross_entropy(self.logits(x).float().flatten(0, 1), wanted.flatten())

    @torch.no_grad()
    def stream_nll(self, tokens, sinks: int, window: int):
        """Negative log-likelihood of tokens [n] but the first, in float32, under a cache of sinks + window."""
        n = tokens.shape[0]
        angles = tuple(a.to(tokens.device) for a in rope_angles(self.shape, n))
        x = self.token_embd(tokens[None])
        for block in self.blk:
            x = block.stream(x, angles, sinks, window)
        return F.cross_entropy(self.logits(x)[0, :-1], tokens[1:], reduction="none")
