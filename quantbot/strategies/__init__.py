"""Trading rules: how they are declared, and those that ship."""
