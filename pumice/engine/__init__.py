"""Engines: token ids in, token ids out, each in a child process behind a socket."""
