"""Trains the variants of a configuration, one after the other, and writes a GGUF file of each."""

import argparse
import signal
import sys
from pathlib import Path

from . import config as configuration
from . import curves, data, tokenizer
from .export import export
from .train import Run


class StopRequest:
    """Ctrl-C (and SIGTERM) asks for the step in progress to be the last; a second Ctrl-C ends at once."""

    def __init__(self):
        self.is_set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._set)

    def _set(self, number, frame):
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True

    def __call__(self) -> bool:
        return self.is_set


def run(config: configuration.Config, should_stop=lambda: False) -> bool:
    """Goes on with what the output folder holds. True when everything is trained and exported."""
    config.files(config.data.texts + config.data.held_out)  # before anything is written
    out = config.output_path
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = tokenizer.prepare(config)
    ids = data.prepare(config, config.data.texts, "tokens")
    held_out = data.prepare(config, config.data.held_out, "held-out") if config.data.held_out else None
    done = {}
    for variant in config.variants:
        training = Run(config, variant, vocabulary, ids, held_out)
        is_done = training.train(should_stop=should_stop)
        done[variant] = training.points
        curves.write(out, done)
        if not is_done:
            print(f"stopped at step {training.step} of {variant}; the same command goes on", file=sys.stderr)
            return False
        for type_name in config.export.types:
            path = out / f"{variant}-{type_name}.gguf"
            seen = training.points[-1].tokens
            export(training.model, vocabulary.path, path, type_name, seen)
            print(path)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="runnel-train", description=__doc__)
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to train (see training/table3.toml)")
    given = parser.parse_args(arguments)
    try:
        return 0 if run(configuration.load(given.config), StopRequest()) else 130
    except (configuration.ConfigError, OSError) as error:
        print(f"runnel-train: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
