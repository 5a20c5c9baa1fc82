"""Trainers that take turns: each a process of its own, which does one step when its parent says so.

All but `pumice` and `judge` run in other environments as well, so they import nothing of Pumice.
"""
