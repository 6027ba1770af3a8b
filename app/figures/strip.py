"""A strip of bars, one a fold: small enough for a card, as an SVG of our own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from app.figures import theme

_WIDTH, _HEIGHT, _FOOT = 300, 54, 12
_COLOURS = {"train": theme.SKY, "test": theme.VERMILLION, "all": theme.BLUE, "rung": theme.GREEN}


def fold_strip(values: NDArray[np.float64], names: Sequence[str], roles: Sequence[str]) -> str:
    """Return the strip as SVG: bars up from zero, or down, with a grey stub where there is no number.

    Parameters
    ----------
    values
        Shape (n_folds,): a measure in each fold; NaN where there is none.
    """
    finite = values[np.isfinite(values)]
    high, low = max(float(finite.max(initial=0.0)), 0.0), min(float(finite.min(initial=0.0)), 0.0)
    reach = (high - low) or 1.0
    zero = (_HEIGHT - _FOOT) * high / reach
    wide = _WIDTH / max(len(values), 1)
    bars = []
    for place, (value, name, role) in enumerate(zip(values.tolist(), names, roles, strict=True)):
        x, width = place * wide + 1, max(wide - 2, 1)
        if np.isfinite(value):
            height = max((_HEIGHT - _FOOT) * abs(value) / reach, 1.0)
            y, colour = (zero - height if value >= 0 else zero), _COLOURS.get(role, theme.GREY)
        else:
            height, y, colour = 3.0, zero - 1.5, theme.MISSING
        title = f"<title>{escape(name)}</title>"
        bars.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
                    f"{title}</rect>")  # fmt: skip
        if wide >= 34:
            bars.append(f'<text x="{x + width / 2:.1f}" y="{_HEIGHT - 1}" font-size="10" text-anchor="middle" '
                        f'fill="#808080">{escape(name[: int(wide // 6)])}</text>')  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<line x1="0" x2="{_WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#808080" stroke-opacity="0.5"/>'
        f"{''.join(bars)}</svg>"
    )
