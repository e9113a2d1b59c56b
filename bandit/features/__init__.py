"""From a text or the caller's vectors to a context vector, versioned."""
