"""Score Parquet in bulk on Ray: plan, score shard by shard, commit once."""
