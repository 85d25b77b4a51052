"""Example pipelines, one file a story; each says which connections it needs."""
