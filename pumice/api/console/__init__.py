"""`/console` and `/api`: the console's pages, and what they need that no client's API has. Knows no browser."""
