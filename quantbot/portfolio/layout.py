"""What an account's kernels read and write, by place: rules of a point, sums of a trial, kinds of guards and orders."""

from __future__ import annotations

# Rules: one row of numbers for each point, what its settings come to.
(
    INITIAL_CASH, SAME_CLOSE, FEE_RATE, FEE_UNIT, FEE_LEAST, MOVED, IMPACT, IMPACT_WINDOW, PARTICIPATION, CARRY, WAIT,
    LOT, LONG_ONLY, BORROW, INITIAL_MARGIN, MAINTENANCE, LEVERAGE, INTEREST, LOAN, BAND, FLAG_FUNDING, MAX_DRAWDOWN,
    COOL_OFF, DAILY_LOSS, KILL_LOSS, MAX_GROSS, MAX_NET, MAX_WEIGHT, MAX_VOLATILITY, MAX_CVAR, CVAR_BETA, RISK_WINDOW,
    MAX_ORDERS, MAX_TURNOVER,
) = range(34)  # fmt: skip
N_RULES = 34

# Guards, in the order in which they are counted.
GUARD_NAMES = (
    "max_drawdown", "daily_loss", "kill_loss", "maintenance_margin", "max_weight", "max_net", "max_gross",
    "initial_margin", "max_volatility", "max_cvar", "max_orders", "max_turnover",
)  # fmt: skip
(
    ON_DRAWDOWN, ON_DAY, ON_KILL, ON_MARGIN, ON_WEIGHT, ON_NET, ON_GROSS, ON_INITIAL, ON_VOLATILITY, ON_CVAR, ON_ORDERS,
    ON_TURNOVER,
) = range(12)  # fmt: skip
N_GUARDS = 12

# Why an order went out; an exit's kind is EXIT plus the guard that ordered it.
TARGET, CARRIED, LIMITED, EXIT = 0, 1, 2, 10

# Sums: one row of numbers for each trial.
SUM_NAMES = (
    "cash", "equity", "sum_returns", "sum_squares", "sum_downside", "worst", "longest", "sum_equity", "invested", "net",
    "traded", "paid", "spread", "impact", "borrow", "interest", "dividends", "funding", "n_orders", "n_interventions",
    "unfunded", "status", "bar", "asset", "traded_today",
)  # fmt: skip
(
    CASH, EQUITY, SUM_RETURNS, SUM_SQUARES, SUM_DOWNSIDE, WORST, LONGEST, SUM_EQUITY, INVESTED, NET, TRADED, FEES,
    SPREAD, IMPACTS, BORROWED, EARNED, DIVIDENDS, FUNDED, N_ORDERS, N_NOTES, UNFUNDED, STATUS, BAR, ASSET, TRADED_TODAY,
) = range(25)  # fmt: skip
FIRST_COUNT = 25  # then how often each guard did something
N_SUMS = FIRST_COUNT + N_GUARDS

COSTS = ("fees", "spread", "impact", "borrow", "interest", "dividends", "funding")  # FEES to FUNDED, in order
FINE, RUINED, NO_FUNDING = 0, 1, 2
