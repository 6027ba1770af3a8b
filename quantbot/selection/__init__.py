"""How much of the best trial is luck, and which trial to choose: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.selection.advice import Advice, Evidence, advise
    from quantbot.selection.bootstrap import (
        Interval,
        Intervals,
        RealityCheck,
        bootstrap_intervals,
        reality_check,
        stepm,
    )
    from quantbot.selection.effective import EffectiveTrials, effective_trials
    from quantbot.selection.overfitting import Overfitting, backtest_overfitting, slice_sums
    from quantbot.selection.paired import Paired, paired_difference
    from quantbot.selection.plateau import Choice, Grid, Neighbourhoods, choose, lone_spikes, neighbourhoods
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
    "advice": ("Advice", "Evidence", "advise"),
    "bootstrap": ("Interval", "Intervals", "RealityCheck", "bootstrap_intervals", "reality_check", "stepm"),
    "effective": ("EffectiveTrials", "effective_trials"),
    "overfitting": ("Overfitting", "backtest_overfitting", "slice_sums"),
    "paired": ("Paired", "paired_difference"),
    "plateau": ("Choice", "Grid", "Neighbourhoods", "choose", "lone_spikes", "neighbourhoods"),
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
    "Advice",
    "Choice",
    "EffectiveTrials",
    "Evidence",
    "Grid",
    "Interval",
    "Intervals",
    "Moments",
    "Neighbourhoods",
    "Overfitting",
    "Paired",
    "RealityCheck",
    "advise",
    "aggregation_factor",
    "autocorrelations",
    "backtest_overfitting",
    "bootstrap_intervals",
    "choose",
    "deflated_sharpe",
    "effective_trials",
    "expected_max_sharpe",
    "lone_spikes",
    "min_backtest_length",
    "min_track_record_length",
    "moments",
    "neighbourhoods",
    "null_variance",
    "paired_difference",
    "probabilistic_sharpe",
    "reality_check",
    "sharpe_standard_error",
    "sharpe_standard_error_robust",
    "slice_sums",
    "stepm",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
