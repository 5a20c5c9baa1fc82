"""The services whose shapes are known here. An operation without a handler answers 501 with its name."""

from __future__ import annotations

from pumice.api.aws.wire import AwsService

BEDROCK = AwsService("bedrock")
BEDROCK_RUNTIME = AwsService("bedrock-runtime")
CLOUDWATCH = AwsService("cloudwatch")
SAGEMAKER = AwsService("sagemaker")
SAGEMAKER_RUNTIME = AwsService("sagemaker-runtime")

# Four Bedrock services share one signing name, and those that matter most are looked at first.
BY_SIGNING_NAME: dict[str, tuple[AwsService, ...]] = {
    "bedrock": (BEDROCK_RUNTIME, BEDROCK, AwsService("bedrock-agent-runtime"), AwsService("bedrock-agent")),
    "sagemaker": (SAGEMAKER_RUNTIME, SAGEMAKER),
    "monitoring": (CLOUDWATCH,),
}
