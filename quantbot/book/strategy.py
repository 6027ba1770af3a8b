"""How a strategy for the order book is declared: parameters, when it is asked, and one function that decides.

The function is asked at its wake-ups. The names of its arguments say what it wants of what was *received* by then:
`now_ns`, `start_ns`, `end_ns`; `bid_ticks`, `ask_ticks`, `bid_lots`, `ask_lots` (the touch; a missing side has
`NO_BID` or `NO_ASK` ticks and no lots); `trade_ticks`, `trade_side` (the last trade), `volume_lots`,
`buy_volume_lots`, `sell_volume_lots` (traded so far); `bid_depth_lots`, `ask_depth_lots` (over `depth_levels` levels);
`position_lots`, `open_buy_lots`, `open_sell_lots` (of its own, as far as it has been told); its parameters; `memory`,
float64 numbers that stay between two calls, 0 at first. It answers by writing into arrays, which come to it as zeros:

`buy_ticks`, `buy_lots`, `sell_ticks`, `sell_lots`, each of `levels` elements: the quotes it wants from now on. A level
with 0 lots is none. What it has and no longer wants is cancelled, what it wants and has not is sent.
`take_ticks[0]`, `take_lots[0]`: lots to take at once (above 0 buys, below 0 sells) at that price or better.

    @book_strategy(
        parameters=[integer("distance", 2, 1, 100, "Ticks from the touch.", unit="ticks")],
    )
    def both_sides(bid_ticks, ask_ticks, bid_lots, ask_lots, distance, buy_ticks, buy_lots, sell_ticks, sell_lots):
        '''Quote one lot on each side, `distance` ticks behind the touch.'''
        if bid_lots > 0 and ask_lots > 0:
            buy_ticks[0], buy_lots[0] = bid_ticks - distance, 1
            sell_ticks[0], sell_lots[0] = ask_ticks + distance, 1

It is compiled like a bar strategy's, under the same rules: plain numbers, comparisons, + - * /, helpers of your own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantbot.book.layout import VIEW, Wake
from quantbot.errors import StrategyError
from quantbot.parameters import Parameter, nearest
from quantbot.strategies.contract import Strategy

OUTPUTS = ("buy_ticks", "buy_lots", "sell_ticks", "sell_lots", "take_ticks", "take_lots")
MEMORY = "memory"
PRICES = ("tick_size", "lot_size")  # of the instrument, as numbers
WAKES: Mapping[str, Wake] = {
    "timer": Wake.TIMER,
    "book": Wake.BOOK,
    "trade": Wake.TRADE,
    "answer": Wake.ANSWER,
}


@dataclass(frozen=True)
class BookStrategy(Strategy):
    """A declared strategy for the order book; made by the `book_strategy` decorator.

    Attributes
    ----------
    levels
        The most quotes a side.
    wake
        When it is asked.
    depth_levels
        Over how many levels `bid_depth_lots` and `ask_depth_lots` reach.
    n_memory
        How many numbers `memory` has.
    quotes, takes
        The kind of order that a quote and a taking becomes.
    """

    levels: int = 1
    wake: Wake = Wake.TIMER
    depth_levels: int = 0
    n_memory: int = 0
    quotes: str = "post_only"
    takes: str = "ioc"
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict, compare=False)


def book_strategy(
    *,
    parameters: Sequence[Parameter] = (),
    levels: int = 1,
    wake: Sequence[str] = ("timer",),
    depth_levels: int = 5,
    n_memory: int = 8,
    quotes: str = "post_only",
    takes: str = "ioc",
) -> Callable[[Callable[..., Any]], BookStrategy]:
    """Declare the decorated function as a strategy for the order book.

    Parameters
    ----------
    wake
        Any of "timer" (every `execution.period_ms`), "book" (best price or size changed), "trade", "answer" (of its
        own orders).
    quotes
        "post_only" or "limit".
    takes
        "ioc", "fok" or "market".

    Raises
    ------
    StrategyError
        If the function asks for a name that is neither received, its own nor a parameter; if a word is unknown; or if
        it has no docstring.
    """
    bits = Wake(0)
    for word in wake:
        if word not in WAKES:
            raise StrategyError(f"a book strategy wakes on {', '.join(WAKES)}; found {word!r}{nearest(word, WAKES)}")
        bits |= WAKES[word]
    for found, known in ((quotes, ("post_only", "limit")), (takes, ("ioc", "fok", "market"))):
        if found not in known:
            raise StrategyError(f"the kind of an order must be one of {', '.join(known)}; found {found!r}")
    if not 1 <= levels <= 64:
        raise StrategyError(f"levels must be from 1 to 64, was {levels}")

    def declare(decide: Callable[..., Any]) -> BookStrategy:
        names = [parameter.name for parameter in parameters]
        known = [*VIEW, *PRICES, MEMORY, *OUTPUTS, *names]
        if twice := sorted({name for name in known if known.count(name) > 1}):
            raise StrategyError(f"{decide.__name__} declares {', '.join(twice)}, a name that is taken; choose another")
        arguments = tuple(inspect.signature(decide).parameters)
        for argument in arguments:
            if argument not in known:
                raise StrategyError(
                    f"{decide.__name__} asks for {argument!r}, which is neither received nor a parameter of it; known"
                    f" are {', '.join(known)}{nearest(argument, known)}"
                )
        for parameter in parameters:
            if parameter.kind == "choice":
                raise StrategyError(f"{parameter.name} of {decide.__name__} is a choice; a book strategy takes numbers")
        doc = inspect.getdoc(decide) or ""
        if not doc:
            raise StrategyError(f"{decide.__name__} needs a docstring: one sentence that says what it quotes")
        depth = depth_levels if {"bid_depth_lots", "ask_depth_lots"} & set(arguments) else 0
        memory = n_memory if MEMORY in arguments else 0
        return BookStrategy(
            decide.__name__, decide, tuple(parameters), {}, doc, arguments,
            levels, bits, depth, memory, quotes, takes,
        )  # fmt: skip

    return declare


def entry_source(strategy: BookStrategy) -> str:
    """Return the text of `entry(view, parameters, memory, wants)`, which calls the strategy with what it asks for."""
    places = {name: f"view[{i}]" for i, name in enumerate(VIEW)}
    for i, parameter in enumerate(strategy.parameters):
        value = f"parameters[{i}]"
        places[parameter.name] = f"int({value})" if parameter.kind == "integer" else value
    for i, name in enumerate(PRICES):
        places[name] = f"parameters[{len(strategy.parameters) + i}]"
    places[MEMORY] = "memory"
    n = strategy.levels
    for i, name in enumerate(OUTPUTS):
        start, stop = (i * n, (i + 1) * n) if i < 4 else (4 * n + i - 4, 4 * n + i - 3)
        places[name] = f"wants[{start}:{stop}]"
    given = ", ".join(places[name] for name in strategy.arguments)
    n_parameters = len(strategy.parameters) + len(PRICES)
    return (
        "def entry(view_, parameters_, memory_, wants_):\n"
        f"    view = carray(view_, ({len(VIEW)},))\n"
        f"    parameters = carray(parameters_, ({n_parameters},))\n"
        f"    memory = carray(memory_, ({max(strategy.n_memory, 1)},))\n"
        f"    wants = carray(wants_, ({4 * n + 2},))\n"
        f"    decide({given})\n"
    )
