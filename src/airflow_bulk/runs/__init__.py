"""What a task does over all its tries: record, submit once, wait, judge, end. One folder a kind of work."""
