"""The S3 wire: nanio, and what it lacks. The gate in front has found out whose key it is."""
