"""Pumice's failures under AWS's names. Knows no operation, only which errors its model declares."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.model import OperationModel, ServiceModel

from pumice.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    NotFoundError,
    PumiceError,
    StoppedError,
    UnavailableError,
)

RETRY_SECONDS = 2
"""How long a client waits before it asks again, where the failure does not say."""


class AwsError(Exception):
    """A failure that AWS has a name for: `raise AwsError("ValidationException", "…")`."""

    def __init__(self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.headers = code, message, status, dict(headers or {})


# For each failure, the names that services use, the usual one first, and the status where none is modelled.
_NAMES: tuple[tuple[type[PumiceError], tuple[str, ...], int], ...] = (
    (NotFoundError, ("ResourceNotFoundException", "ResourceNotFound", "ValidationError", "ValidationException"), 404),
    (ConflictError, ("ConflictException", "ResourceInUse", "ValidationException"), 409),
    (DeniedError, ("AccessDeniedException",), 403),
    (ExhaustedError, ("ThrottlingException", "ServiceQuotaExceededException", "ResourceLimitExceeded"), 429),
    (UnavailableError, ("ServiceUnavailableException", "ServiceUnavailable", "InternalServerException"), 503),
    (StoppedError, ("ModelErrorException", "ModelError"), 499),
)


def translate(error: PumiceError, op: OperationModel, model: ServiceModel) -> AwsError:
    """The first fitting name that the operation declares, or that AWS uses everywhere; the sentence is the error's."""
    message = " ".join(str(error).split())
    declared = {shape.name for shape in op.error_shapes}
    for kind, names, status in _NAMES:
        if isinstance(error, kind):
            # SageMaker declares few errors, and says ValidationException for the rest.
            usual = names[-1] if model.service_name == "sagemaker" else names[0]
            code = next((name for name in names if name in declared), usual)
            seconds = error.seconds if isinstance(error, ExhaustedError) else RETRY_SECONDS
            headers = {"Retry-After": str(seconds)} if status in (429, 503) else {}
            return AwsError(code, message, status, headers)
    # InvokeEndpoint has its own name for it.
    return AwsError("ValidationError" if "ValidationError" in declared else "ValidationException", message)
