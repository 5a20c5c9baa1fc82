"""OpenAI's API over registered models. Its names and shapes stay in this folder."""
