"""What a market, a strategy and a risk are: arrays in, arrays out."""
