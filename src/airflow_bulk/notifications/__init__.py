"""Tell others how bulk work ended."""
