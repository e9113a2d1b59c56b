"""The process that turns outcomes into posteriors."""
