"""Pumice's failures under AWS's names, with the seconds to wait."""

from __future__ import annotations

import pytest

from pumice.api.aws.errors import translate
from pumice.api.aws.services import BEDROCK_RUNTIME, SAGEMAKER, SAGEMAKER_RUNTIME
from pumice.api.aws.wire import AwsService
from pumice.errors import ExhaustedError, NotFoundError, PumiceError, RequestError, UnavailableError


@pytest.mark.parametrize(
    ("service", "operation", "error", "code", "wait"),
    [
        (BEDROCK_RUNTIME, "Converse", ExhaustedError("Used up.", seconds=90), "ThrottlingException", "90"),
        (BEDROCK_RUNTIME, "Converse", UnavailableError("Not now."), "ServiceUnavailableException", "2"),
        (BEDROCK_RUNTIME, "Converse", NotFoundError("Gone."), "ResourceNotFoundException", None),
        (SAGEMAKER, "DescribeEndpoint", NotFoundError("Gone."), "ValidationException", None),
        (SAGEMAKER_RUNTIME, "InvokeEndpoint", NotFoundError("Gone."), "ValidationError", None),
        (SAGEMAKER_RUNTIME, "InvokeEndpoint", RequestError("Wrong."), "ValidationError", None),
        (SAGEMAKER_RUNTIME, "InvokeEndpoint", ExhaustedError("Used up.", seconds=7), "ThrottlingException", "7"),
    ],
)
def test_a_failure_has_the_name_of_the_operation_that_it_meets(
    service: AwsService, operation: str, error: PumiceError, code: str, wait: str | None
) -> None:
    told = translate(error, service.operations[operation], service.model)
    assert (told.code, told.headers.get("Retry-After"), told.message) == (code, wait, str(error))
