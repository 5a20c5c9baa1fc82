"""Which action an AWS operation is, by its name: the verbs of AWS are few. Knows no role and no handler."""

from __future__ import annotations

from pumice.api.roles import Action

# Longest first where one begins with another; the first that fits decides.
_ACTIONS: tuple[tuple[str, Action], ...] = (
    ("PutModelInvocationLoggingConfiguration", "admin"),
    ("DeleteModelInvocationLoggingConfiguration", "admin"),
    ("ListFoundationModels", "invoke"),
    ("GetFoundationModel", "invoke"),
    ("InvokeModel", "invoke"),
    ("InvokeEndpoint", "invoke"),
    ("InvokeGuardrail", "invoke"),
    ("Converse", "invoke"),
    ("CountTokens", "invoke"),
    ("ApplyGuardrail", "invoke"),
    ("Retrieve", "invoke"),
    ("Rerank", "invoke"),
    ("Get", "read"),
    ("List", "read"),
    ("Describe", "read"),
    ("BatchGet", "read"),
    ("BatchDescribe", "read"),
    ("Search", "read"),
)


def action_of(operation: str) -> Action:
    """The action of an operation by its name, as in `CreateTrainingJob`; what is not known to be less is `train`."""
    return next((action for start, action in _ACTIONS if operation.startswith(start)), "train")
