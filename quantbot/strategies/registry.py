"""The strategies that ship: one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from quantbot.parameters import nearest
from quantbot.strategies.contract import Strategy

MODULES = {
    "sma_cross": "quantbot.strategies.sma_cross",
    "ema_cross": "quantbot.strategies.ema_cross",
    "donchian": "quantbot.strategies.donchian",
    "bollinger": "quantbot.strategies.bollinger",
    "rsi": "quantbot.strategies.rsi",
    "momentum": "quantbot.strategies.momentum",
}


def shipped() -> Mapping[str, Strategy]:
    """Return the strategies that ship, by name; each is imported when it is first looked up.

    Examples
    --------
    >>> list(shipped())[:2]
    ['sma_cross', 'ema_cross']
    >>> shipped()["donchian"].defaults()
    {'entry': 20, 'leave': 10, 'short': 0.0}
    """
    return _Shipped()


class _Shipped(Mapping[str, Strategy]):
    def __getitem__(self, name: str) -> Strategy:
        if name not in MODULES:
            raise KeyError(f"no shipped strategy {name!r}; there are {', '.join(MODULES)}{nearest(name, MODULES)}")
        declared: Strategy = getattr(import_module(MODULES[name]), name)
        return declared

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)
