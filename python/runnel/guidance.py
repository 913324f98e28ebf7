"""A model's vocabulary for llguidance (pip install llguidance), whose grammars then choose the tokens:

    matcher = llguidance.LLMatcher(guidance.tokenizer(m), grammar)
    while not matcher.is_stopped():
        step = guidance.next(stream, matcher)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from .errors import Error

if TYPE_CHECKING:
    from ._engine import Step
    from .model import Model
    from .stream import Stream


class _Vocabulary:
    def __init__(self, model: "Model"):
        if model.eos is None:
            raise Error(f"{model.path}: the vocabulary has no EOS, which ends a grammar's text")
        self._model = model
        self.eos_token_id = model.eos
        self.bos_token_id = model.bos
        self.tokens = [model.token_bytes(token) for token in range(model.vocabulary_size)]
        self.special_token_ids = [token for token in range(model.vocabulary_size)
                                  if model.is_end_of_generation(token) or token == model.bos]

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return self._model.tokenize(text, continues=True)


def tokenizer(model: "Model") -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Vocabulary(model)))


def next(stream: "Stream", matcher: LLMatcher) -> "Step":
    """The likeliest token that the grammar allows, taken by both."""
    allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    logits = stream.logits
    token = int(np.where(allowed[:len(logits)].astype(bool), logits, -np.inf).argmax())
    if not matcher.consume_token(token):
        raise Error(f"grammar: {matcher.get_error() or 'no token is allowed'}")
    return stream.push(token)


__all__: list[Any] = ["next", "tokenizer"]
