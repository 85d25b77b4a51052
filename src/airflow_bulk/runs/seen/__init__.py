"""Files that are known across runs: which of a source's files an import takes (ARCHITECTURE.md section 5.10)."""
