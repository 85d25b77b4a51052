"""Runs of mediarithmics integration batches, their declaration and their cron."""
