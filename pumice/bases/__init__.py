"""Base models: found and cached once as plain files. Knows no torch and nothing of training."""
