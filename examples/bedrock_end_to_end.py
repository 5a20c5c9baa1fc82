"""Fine-tune, provision, converse, log and clean up with boto3 alone.

Needs AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION, as any program for AWS does.
"""

import gzip
import json
import time
from pathlib import Path

import boto3

BUCKET = "basalt-support"
ROLE = "arn:aws:iam::000000000000:role/fine-tuning"
NAME = f"basalt-{int(time.time())}"
TRAIN = Path(__file__).with_name("support.jsonl")
QUESTION = "How long is the guarantee on a Basalt bicycle frame?"

s3, bedrock, runtime = boto3.client("s3"), boto3.client("bedrock"), boto3.client("bedrock-runtime")
print("Signed in as", boto3.client("sts").get_caller_identity()["Arn"])


def ask(model: str) -> str:
    """One answer, greedy."""
    answer = runtime.converse(
        modelId=model,
        messages=[{"role": "user", "content": [{"text": QUESTION}]}],
        inferenceConfig={"maxTokens": 60, "temperature": 0},
    )
    return answer["output"]["message"]["content"][0]["text"].strip()


# Upload the questions with their answers.
s3.create_bucket(Bucket=BUCKET)
s3.upload_file(str(TRAIN), BUCKET, "train.jsonl")

# Pick a base that can be fine-tuned, and ask it: it has never heard of Basalt.
base = bedrock.list_foundation_models(byCustomizationType="FINE_TUNING", byOutputModality="TEXT")["modelSummaries"][0]
print("Base model:", base["modelId"])
print("It says:", ask(base["modelId"]))

# Train.
job = bedrock.create_model_customization_job(
    jobName=NAME,
    customModelName=NAME,
    roleArn=ROLE,
    baseModelIdentifier=base["modelId"],
    customizationType="FINE_TUNING",
    trainingDataConfig={"s3Uri": f"s3://{BUCKET}/train.jsonl"},
    outputDataConfig={"s3Uri": f"s3://{BUCKET}/output"},
    hyperParameters={"epochCount": "8"},
)["jobArn"]
while (found := bedrock.get_model_customization_job(jobIdentifier=job))["status"] in ("InProgress", "Stopping"):
    print("Training:", found["status"], found.get("statusDetails", {}).get("trainingDetails", {}).get("status", ""))
    time.sleep(10)
if found["status"] != "Completed":
    raise SystemExit(f"Training ended as {found['status']}: {found.get('failureMessage', '')}")
print("Training loss:", found["trainingMetrics"]["trainingLoss"])

# The loss curve lies in the bucket.
listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="output/")["Contents"]
curve = next(each["Key"] for each in listed if each["Key"].endswith("step_wise_training_metrics.csv"))
print(s3.get_object(Bucket=BUCKET, Key=curve)["Body"].read().decode().splitlines()[0])

# Write what is asked and answered to the bucket from now on.
bedrock.put_model_invocation_logging_configuration(
    loggingConfig={"s3Config": {"bucketName": BUCKET, "keyPrefix": "log"}, "textDataDeliveryEnabled": True}
)

# Reserve capacity for the new model and wait for it.
provisioned = bedrock.create_provisioned_model_throughput(
    provisionedModelName=NAME, modelId=found["outputModelArn"], modelUnits=1
)["provisionedModelArn"]
while (status := bedrock.get_provisioned_model_throughput(provisionedModelId=provisioned)["status"]) == "Creating":
    time.sleep(1)
print("Provisioned:", status)

# Ask, whole and as a stream.
print("The tuned model says:", ask(provisioned))
stream = runtime.converse_stream(
    modelId=provisioned,
    messages=[{"role": "user", "content": [{"text": "Where is the Basalt workshop?"}]}],
    inferenceConfig={"maxTokens": 60, "temperature": 0},
)["stream"]
for event in stream:
    if "contentBlockDelta" in event:
        print(event["contentBlockDelta"]["delta"]["text"], end="", flush=True)
    if "metadata" in event:
        print("\nTokens:", event["metadata"]["usage"]["totalTokens"])

# Read the log.
for _ in range(30):
    logged = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="log/").get("Contents", [])]
    lines = [
        json.loads(line)
        for key in logged
        if key.endswith(".json.gz")
        for line in gzip.decompress(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).splitlines()
    ]
    if len(lines) >= 2:
        break
    time.sleep(1)
print("Logged:", [(line["operation"], line["output"]["outputTokenCount"]) for line in lines])

# Leave nothing behind.
bedrock.delete_model_invocation_logging_configuration()
bedrock.delete_provisioned_model_throughput(provisionedModelId=provisioned)
bedrock.delete_custom_model(modelIdentifier=found["outputModelArn"])
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
    for each in page.get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=each["Key"])
s3.delete_bucket(Bucket=BUCKET)
print("Deleted.")
