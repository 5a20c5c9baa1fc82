"""`pumice deploy aws`: two CloudFormation stacks and one bucket. Read `plan.py`, then `apply.py`."""
