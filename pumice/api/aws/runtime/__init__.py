"""bedrock-runtime. Importing this package serves its operations."""

from pumice.api.aws.runtime import apply_guardrail, converse, count_tokens, invoke

__all__ = ["apply_guardrail", "converse", "count_tokens", "invoke"]
