"""Runs of extract/load batches: the steps of an expanded batch, and delegated batches."""
