"""The bar engine."""
