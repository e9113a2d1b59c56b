"""From outcomes to posteriors: sums, decay, priors."""
