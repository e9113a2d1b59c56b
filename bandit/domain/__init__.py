"""The vocabulary of routing, as frozen values that check themselves when they are made."""
