"""From posteriors and a preference to a choice with its propensity."""
