"""The pictures of the page: SVG that follows the colours of the page, and heat maps over images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from worldmodel.explain.states import png

UP, DOWN = (217, 95, 2), (31, 119, 200)  # raises, lowers; readable on light and dark, and to the colour-blind
ROW, NAME, WIDE = 18, 150, 560  # of a picture: height of a row, width of its names and of the rest
SIDE = 128  # pixels that an image is brought to, at least


def heat_map(values: NDArray[Any], names: Sequence[str], steps: Sequence[int], said: str) -> Markup:
    """Return values [F, n] of features at steps as coloured cells; the strongest has full colour."""
    most = float(np.abs(values).max(initial=0.0)) or 1.0
    width = WIDE / max(1, len(steps))
    parts = []
    for row, name in enumerate(names):
        parts.append(_text(NAME - 6, row * ROW + 13, name, "end"))
        for column, step in enumerate(steps):
            value = float(values[row, column])
            colour, strength = UP if value >= 0 else DOWN, abs(value) / most
            parts.append(
                f'<rect x="{NAME + column * width:.1f}" y="{row * ROW}" width="{max(1.0, width - 1):.1f}" '
                f'height="{ROW - 2}" fill="rgb{colour}" fill-opacity="{strength:.3f}" class="cell">'
                f"<title>{escape(name)}, step {step}: {value:+.3g}</title></rect>"
            )
    bottom = len(names) * ROW + 12
    every = max(1, -(-len(steps) // 8))
    parts += [
        _text(NAME + (column + 0.5) * width, bottom, str(step), "middle")
        for column, step in enumerate(steps)
        if column % every == 0
    ]
    return _svg(parts, bottom + 6, said)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]]) -> Markup:
    """Return horizontal bars, those of each series in a strength of its own; series are scaled alone."""
    parts, height = [], ROW * max(1, len(series)) + 4
    for number, (label, values) in enumerate(series.items()):
        most = max(map(abs, values), default=0.0) or 1.0
        for row, value in enumerate(values):
            y, width = row * height + number * ROW, (WIDE - 90) * abs(value) / most
            parts.append(
                f'<rect x="{NAME}" y="{y + 2}" width="{max(width, 0.5):.1f}" height="{ROW - 4}" fill="rgb{DOWN}" '
                f'fill-opacity="{1 - 0.55 * number:.2f}"><title>{escape(label)}: {value:.3g}</title></rect>'
            )
            parts.append(_text(NAME + width + 5, y + 13, f"{value:.3g}", "start"))
    parts += [_text(NAME - 6, row * height + 13, name, "end") for row, name in enumerate(names)]
    return _svg(parts, len(names) * height, ", ".join(series))


def overlay(image: NDArray[Any], values: NDArray[Any]) -> bytes:
    """Return a PNG of an image [H, W, C], 0 to 255, in grey under what its pixels contribute, [H, W]."""
    grey = image.mean(-1, keepdims=True).repeat(3, -1)
    most = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    strength = np.clip(np.abs(values) / most, 0, 1)[..., None] * 0.85
    colour = np.where(values[..., None] >= 0, np.array(UP), np.array(DOWN))
    mixed = ((1 - strength) * grey + strength * colour).clip(0, 255).astype(np.uint8)
    scale = max(1, -(-SIDE // max(mixed.shape[:2])))
    return png(mixed.repeat(scale, 0).repeat(scale, 1))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    short = text if len(text) <= 24 else f"{text[:23]}…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(short)}</text>'


def _svg(parts: Sequence[str], height: float, said: str) -> Markup:
    box = f'viewBox="0 0 {NAME + WIDE} {height:.0f}"'
    return Markup(f'<svg role="img" aria-label="{escape(said)}" {box}>' + "".join(parts) + "</svg>")
