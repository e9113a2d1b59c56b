"""The schema's history: one change each, never edited after its release."""
