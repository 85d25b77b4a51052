"""Runs of Centrapay batches."""
