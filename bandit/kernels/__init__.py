"""Numba functions from arrays to arrays: no strings, no objects, no validation, no randomness."""
