"""The curves of all variants: OUTPUT/losses.csv and OUTPUT/losses.svg."""

import csv
import math
from pathlib import Path

from .train import Point

COLOURS = {"vanilla": "#2a78b5", "zero": "#d9822b", "sink": "#3a9a5b"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 20, 20, 50


def write_csv(path: Path, curves: dict[str, list[Point]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["variant", "step", "tokens", "loss", "held_out_loss", "rate", "tokens_per_second"])
        for variant, points in curves.items():
            for p in points:
                held_out = "" if p.held_out_loss is None else f"{p.held_out_loss:.6f}"
                out.writerow([variant, p.step, p.tokens, f"{p.loss:.6f}", held_out, f"{p.rate:.4g}",
                              f"{p.tokens_per_second:.0f}"])


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10(high - low))
    while (high - low) / step < 4:
        step /= 2
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def write_svg(path: Path, curves: dict[str, list[Point]]) -> None:
    """Loss against step; held-out loss dashed."""
    series = []  # variant, is dashed, [(step, loss)]
    for variant, points in curves.items():
        series.append((variant, False, [(p.step, p.loss) for p in points]))
        series.append((variant, True, [(p.step, p.held_out_loss) for p in points if p.held_out_loss is not None]))
    values = [loss for _, _, line in series for _, loss in line]
    if not values:
        return
    last = max(step for _, _, line in series for step, _ in line)
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def at(step: float, loss: float) -> tuple[float, float]:
        return (LEFT + (WIDTH - LEFT - RIGHT) * step / last, TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             f'font-size="12" fill="#333"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for loss in _ticks(low, high):
        y = at(0, loss)[1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:g}</text>')
    for step in _ticks(0, last):
        parts.append(f'<text x="{at(step, low)[0]:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{step:g}</text>')
    for variant, is_dashed, line in series:
        coordinates = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in line)
        dash = ' stroke-dasharray="4 3"' if is_dashed else ""
        if line:
            parts.append(f'<polyline points="{coordinates}" fill="none" stroke="{COLOURS[variant]}" '
                         f'stroke-width="1.6"{dash}/>')
    for i, variant in enumerate(curves):
        parts.append(f'<text x="{WIDTH - RIGHT - 80}" y="{TOP + 16 + 18 * i}" fill="{COLOURS[variant]}">{variant}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">step (loss; held out: dashed)</text></svg>')
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def write(folder: Path, curves: dict[str, list[Point]]) -> None:
    write_csv(folder / "losses.csv", curves)
    write_svg(folder / "losses.svg", curves)
