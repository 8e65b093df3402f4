"""Training: the alternation, its starts, and the last gate over the honest table."""
