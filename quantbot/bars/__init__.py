"""The bar engine: constant costs, one instrument a trial, many trials together."""

from __future__ import annotations

from quantbot.bars.engine import BarEngine

ENGINE = BarEngine()

__all__ = ["ENGINE", "BarEngine"]
