"""The mediarithmics API: records, statuses and calls."""
