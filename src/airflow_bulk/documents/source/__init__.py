"""The source: files found, opened, cut into parts, read again as bodies."""
