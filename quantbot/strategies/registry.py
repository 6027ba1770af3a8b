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
BOOK_MODULES = {
    "market_maker": "quantbot.strategies.market_maker",
    "avellaneda_stoikov": "quantbot.strategies.avellaneda_stoikov",
    "grid_maker": "quantbot.strategies.grid_maker",
    "imbalance_taker": "quantbot.strategies.imbalance_taker",
    "execution_schedule": "quantbot.strategies.execution_schedule",
}


def shipped_for_books() -> Mapping[str, Strategy]:
    """Return the strategies for order books that ship, by name."""
    return _Shipped(BOOK_MODULES)


def shipped() -> Mapping[str, Strategy]:
    """Return the strategies on bars that ship, by name; each is imported when it is first looked up.

    Examples
    --------
    >>> list(shipped())[:2]
    ['sma_cross', 'ema_cross']
    >>> shipped()["donchian"].defaults()
    {'entry': 20, 'leave': 10, 'short': 0.0}
    """
    return _Shipped(MODULES)


class _Shipped(Mapping[str, Strategy]):
    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Strategy:
        if name not in self._modules:
            raise KeyError(
                f"no shipped strategy {name!r}; there are {', '.join(self._modules)}{nearest(name, self._modules)}"
            )
        declared: Strategy = getattr(import_module(self._modules[name]), name)
        return declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)
