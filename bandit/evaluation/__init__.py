"""Replay of recorded outcomes, frontiers and regret."""
