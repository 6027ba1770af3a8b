"""Figures as pure functions: data in, plotly out."""
