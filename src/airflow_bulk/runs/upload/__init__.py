"""Bring a source to a platform that takes uploads: check, send, reconcile, wait, judge."""
