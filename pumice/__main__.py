"""`python -m pumice` is the `pumice` command."""

from pumice.cli import main

main()
