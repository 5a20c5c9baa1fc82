"""The servers of tests/api serve these tests too."""
