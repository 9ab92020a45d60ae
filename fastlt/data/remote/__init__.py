"""Shard sets that lie at an address (s3://, gs://, https:// ...), read through a cache on this host."""
