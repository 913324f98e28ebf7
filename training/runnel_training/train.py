"""The training of one variant: AdamW, warm-up and cosine, checkpoints that continue to the same bits."""

import contextlib
import dataclasses
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from . import data
from .config import Config, ConfigError, Training
from .model import Llama
from .tokenizer import Vocabulary

HELD_OUT_CROPS = 32


def learning_rate(t: Training, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / t.steps))
    return t.rate * min(1, (step + 1) / t.warmup if t.warmup else 1) * (t.last_rate + (1 - t.last_rate) * cosine)


def pick_device(t: Training) -> torch.device:
    if t.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device: want cuda, and PyTorch finds none")
    return torch.device("cuda" if t.device != "cpu" and torch.cuda.is_available() else "cpu")


def is_half(t: Training, device: torch.device) -> bool:
    if t.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return t.precision == "bfloat16"


def is_compiled(t: Training, device: torch.device) -> bool:
    if t.compile == "yes" and not hasattr(torch, "compile"):
        raise ConfigError(f"training.compile: want PyTorch 2, found {torch.__version__}")
    return t.compile == "yes" or (t.compile == "auto" and device.type == "cuda" and hasattr(torch, "compile"))


@dataclasses.dataclass
class Point:
    """One line of the curve: means since the line before."""

    step: int
    tokens: int
    loss: float
    held_out_loss: float | None
    rate: float
    tokens_per_second: float

    def row(self) -> list[float]:
        return [math.nan if value is None else float(value) for value in dataclasses.astuple(self)]

    @classmethod
    def of_row(cls, row: list[float]) -> "Point":
        step, tokens, loss, held_out_loss, rate, speed = row
        return cls(int(step), int(tokens), loss, None if math.isnan(held_out_loss) else held_out_loss, rate, speed)


class Run:
    """The state of one variant's training, on disk as OUTPUT/VARIANT/checkpoint.pt."""

    def __init__(self, config: Config, variant: str, vocabulary: Vocabulary, ids: np.ndarray,
                 held_out: np.ndarray | None = None):
        t = config.training
        self.config, self.variant, self.ids, self.held_out = config, variant, ids, held_out
        self.device = pick_device(t)
        sink = vocabulary.bos if vocabulary.bos is not None else 0
        self.model = Llama(config.model, vocabulary.size, variant, sink, t.seed).to(self.device)
        weights = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [w for w in weights if w.dim() > 1], "weight_decay": t.decay},
             {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0}],
            lr=t.rate, betas=(0.9, 0.95))
        self.loss_of = torch.compile(self.model) if is_compiled(t, self.device) else self.model
        self.step = 0
        self.points: list[Point] = []
        self.sums = [0.0, 0]  # of losses since the last point, and how many
        if self.checkpoint.exists():
            self._load()

    @property
    def folder(self) -> Path:
        return self.config.output_path / self.variant

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(".part")
        # Tensors, texts and whole numbers only, so that reading it runs no code.
        torch.save({"fingerprint": self.config.fingerprint(self.variant), "step": self.step,
                    "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()["state"],
                    "sums": torch.tensor(self.sums, dtype=torch.float64),
                    "points": torch.tensor([p.row() for p in self.points], dtype=torch.float64)}, part)
        os.replace(part, self.checkpoint)

    def _load(self) -> None:
        saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if saved["fingerprint"] != self.config.fingerprint(self.variant):
            raise ConfigError(f"{self.checkpoint}: it is of another configuration; want a new `output`, or this "
                              "checkpoint removed")
        self.model.load_state_dict(saved["model"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved["optimizer"], "param_groups": groups})
        self.step, self.sums = saved["step"], saved["sums"].tolist()
        self.points = [Point.of_row(row) for row in saved["points"].tolist()]

    def _precision(self):
        if is_half(self.config.training, self.device):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _advance(self) -> float:
        t = self.config.training
        crops = data.crops(self.ids, t.seed, self.step, t.batch, self.config.model.context)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(t, self.step)
        with self._precision():
            loss = self.loss_of(torch.from_numpy(crops).to(self.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        if self.held_out is None:
            return None
        context, batch = self.config.model.context, self.config.training.batch
        crops = torch.from_numpy(data.held_out_crops(self.held_out, HELD_OUT_CROPS, context)).to(self.device)
        with self._precision():
            losses = [self.model(part).item() * len(part) for part in crops.split(batch)]
        return sum(losses) / len(crops)

    def train(self, until: int | None = None, should_stop=lambda: False) -> bool:
        """Trains up to step `until` (the last one) or until told to stop; saves. True when all steps are done."""
        t = self.config.training
        until = t.steps if until is None else min(until, t.steps)
        per_step = t.batch * (self.config.model.context - 1)
        start, start_step = time.monotonic(), self.step
        while self.step < until and not should_stop():
            self.sums[0] += self._advance()
            self.sums[1] += 1
            if self.step % t.log_every == 0 or self.step == t.steps:
                rate = (self.step - start_step) * per_step / (time.monotonic() - start)
                self.points.append(Point(self.step, self.step * per_step, self.sums[0] / self.sums[1],
                                         self.held_out_loss(), learning_rate(t, self.step - 1), rate))
                self.sums = [0.0, 0]
                self._report()
                start, start_step = time.monotonic(), self.step
            if self.step % t.checkpoint_every == 0:
                self.save()
        self.save()
        return self.step == t.steps

    def _report(self) -> None:
        p = self.points[-1]
        held_out = "" if p.held_out_loss is None else f" · held out {p.held_out_loss:.4f}"
        left = (self.config.training.steps - p.step) * p.tokens / p.step / p.tokens_per_second
        print(f"{self.variant} · step {p.step} of {self.config.training.steps} · loss {p.loss:.4f}{held_out} · "
              f"{p.tokens_per_second:,.0f} tokens/s · {left / 60:.1f} min left", file=sys.stderr, flush=True)
