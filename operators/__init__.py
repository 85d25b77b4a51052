"""Operators, one file per resource of a platform."""
