"""Hooks: one file per platform, over one transport. Importing this package imports nothing else."""
