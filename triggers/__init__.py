"""Triggers: wait without a worker, and cancel while deferred."""
