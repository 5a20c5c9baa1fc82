"""A tuned model against its base: same questions, same engine, paired statistics. Knows not how it was trained."""
