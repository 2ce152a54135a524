"""From source shards to documents, one a line, with an index and a manifest."""
