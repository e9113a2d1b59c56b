"""Does it learn as well as it claims?  Every claim with its bound, on recorded outcomes."""
