"""What stands between a person and a model. Knows no wire and no engine."""
