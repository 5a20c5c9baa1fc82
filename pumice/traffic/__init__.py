"""What passes through: how much, and what is kept of it. Knows no wire."""
