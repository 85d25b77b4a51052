"""Runs of mediarithmics document imports: what is asked for, and what a sensor sees."""
