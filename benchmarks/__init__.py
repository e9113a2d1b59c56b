"""Ratios of the kernels against their plain definitions, measured in one interleaved run."""
