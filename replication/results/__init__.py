"""Where a run's files lie, what is in them, and what made them. No torch."""
