"""Where things are kept: files on disk and records in SQL. Knows nothing of what they mean."""
