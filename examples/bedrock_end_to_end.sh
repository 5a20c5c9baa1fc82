#!/usr/bin/env bash
# Fine-tune, deploy and ask with the AWS CLI alone.
# Needs AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
set -euo pipefail
cd "$(dirname "$0")"
bucket=basalt-cli name="basalt-cli-$(date +%s)"
text() { aws "$@" --output text; }

aws s3 mb "s3://$bucket"
aws s3 cp support.jsonl "s3://$bucket/train.jsonl"
aws s3 ls "s3://$bucket/"

base=$(text bedrock list-foundation-models --by-customization-type FINE_TUNING --by-output-modality TEXT \
  --query 'modelSummaries[0].modelId')
job=$(text bedrock create-model-customization-job --job-name "$name" --custom-model-name "$name" \
  --role-arn arn:aws:iam::000000000000:role/fine-tuning --base-model-identifier "$base" \
  --training-data-config "s3Uri=s3://$bucket/train.jsonl" --output-data-config "s3Uri=s3://$bucket/output" \
  --hyper-parameters epochCount=8 --query jobArn)
while status=$(text bedrock get-model-customization-job --job-identifier "$job" --query status) && [ "$status" = InProgress ]; do
  echo "Training: $status"
  sleep 10
done
echo "Training: $status"
[ "$status" = Completed ]
model=$(text bedrock get-model-customization-job --job-identifier "$job" --query outputModelArn)
aws s3 sync "s3://$bucket/output" output

deployment=$(text bedrock create-custom-model-deployment --model-deployment-name "$name" --model-arn "$model" \
  --query customModelDeploymentArn)
while [ "$(text bedrock get-custom-model-deployment --custom-model-deployment-identifier "$deployment" --query status)" = Creating ]; do
  sleep 1
done
text bedrock-runtime converse --model-id "$deployment" --inference-config maxTokens=60,temperature=0 \
  --messages '[{"role": "user", "content": [{"text": "Which colour is the Basalt Courier delivered in?"}]}]' \
  --query 'output.message.content[0].text'

aws bedrock delete-custom-model-deployment --custom-model-deployment-identifier "$deployment"
aws bedrock delete-custom-model --model-identifier "$model"
aws s3 rb --force "s3://$bucket"
rm -r output
echo "Deleted."
