"""Prompts as the cheaper first step: templates with and without shots, asked like a tuned model. Knows no training."""
