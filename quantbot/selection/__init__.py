"""How much of the best trial is luck, and which trial to choose: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.selection.overfitting import Overfitting, backtest_overfitting, slice_sums
    from quantbot.selection.sharpe import (
        Moments,
        aggregation_factor,
        autocorrelations,
        deflated_sharpe,
        expected_max_sharpe,
        min_backtest_length,
        min_track_record_length,
        moments,
        null_variance,
        probabilistic_sharpe,
        sharpe_standard_error,
        sharpe_standard_error_robust,
    )

_MODULES = {
    "overfitting": ("Overfitting", "backtest_overfitting", "slice_sums"),
    "sharpe": (
        "Moments",
        "aggregation_factor",
        "autocorrelations",
        "deflated_sharpe",
        "expected_max_sharpe",
        "min_backtest_length",
        "min_track_record_length",
        "moments",
        "null_variance",
        "probabilistic_sharpe",
        "sharpe_standard_error",
        "sharpe_standard_error_robust",
    ),
}

__all__ = [
    "Moments",
    "Overfitting",
    "aggregation_factor",
    "autocorrelations",
    "backtest_overfitting",
    "deflated_sharpe",
    "expected_max_sharpe",
    "min_backtest_length",
    "min_track_record_length",
    "moments",
    "null_variance",
    "probabilistic_sharpe",
    "sharpe_standard_error",
    "sharpe_standard_error_robust",
    "slice_sums",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
