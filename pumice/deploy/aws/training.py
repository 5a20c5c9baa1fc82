"""A recipe trained on SageMaker: what is sent, what is asked for, and the artifact that comes back.

The code travels as a channel and starts in AWS's own image, so nobody builds one. A job's name follows from its recipe
and its data: the same command finds the same job again, running or done.
"""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

import pumice
from pumice.bases import resolve
from pumice.config import Home
from pumice.deploy.aws import bucket, deployments
from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.endpoint import inside
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.fetch import fetch
from pumice.deploy.aws.prices import Machine
from pumice.deploy.aws.stacks import Stack
from pumice.deploy.aws.template import Template, allow, arn, att, body, role, short_hash, sub, template
from pumice.deploy.sagemaker import images
from pumice.deploy.sagemaker.container import METRICS
from pumice.errors import InputError, UnavailableError
from pumice.records import Model
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.store.files import sha256_file
from pumice.store.s3 import Objects
from pumice.train.methods import Pretrain
from pumice.train.recipe import Recipe

Tell = Callable[[str], None]
PAUSE = 10.0
LONGEST = 24 * 3600
"""Seconds until SageMaker ends the job."""
CARRIED = re.compile(r"torch\b")
"""What the image has already; another build of it would take its place."""
START = (
    "tar xzf /opt/ml/input/data/code/pumice.tar.gz -C /tmp && "
    "pip install --quiet -r /tmp/pumice/requirements.txt && "
    "cd /tmp && exec python -m pumice.deploy.sagemaker train"
)


@dataclass(frozen=True)
class Options:
    """How it runs."""

    instance: str
    gpu: bool
    instances: int = 1
    spot: bool = False
    fsx: str | None = None
    """`file-system-id:/mount/path`: the data lies on FSx for Lustre instead of S3."""
    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    serverless: str | None = None
    """ARN of a base in SageMaker's hub: AWS trains it itself, with its own loop."""


def options(machine: Machine, instances: int, spot: bool, fsx: str | None, serverless: str | None) -> Options:
    """Raises `InputError` for an FSx that is not wholly named."""
    if fsx is None:
        return Options(machine.name, machine.gpu, instances, spot, serverless=serverless)
    place, at, network = fsx.partition("@")
    subnet, comma, group = network.partition(",")
    if not (at and comma and ":/" in place):
        raise InputError(
            f"--fsx {fsx} does not name a place.",
            "FSx for Lustre lies in a network, so the job must be in one of its subnets, with a security group.",
            "Write --fsx fs-0123:/mount/data@subnet-0123,sg-0123",
        )
    return Options(machine.name, machine.gpu, instances, spot, place, (subnet,), (group,), serverless)


def stack_name(facts: Facts) -> str:
    """The role that trains."""
    return f"pumice-{facts.name}-training"


def training_stack(facts: Facts) -> Template:
    """One role: read what is sent, write what is made, and the log."""
    statements = [
        allow("s3:GetObject", [inside(facts, "training/*")]),
        allow("s3:PutObject", [inside(facts, "training/*")]),
        allow("s3:ListBucket", sub(f"arn:${{AWS::Partition}}:s3:::{facts.bucket}")),
        allow(
            ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"],
            sub("arn:${AWS::Partition}:ecr:${AWS::Region}:*:repository/*"),
        ),
        allow("ecr:GetAuthorizationToken", "*"),
        allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            arn("logs", "log-group:/aws/sagemaker/*"),
        ),
    ]
    resources = {"Role": role("sagemaker.amazonaws.com", "training", statements, ours=True)}
    return template("Pumice: what a training job may do.", resources, {"RoleArn": att("Role", "Arn")})


def settings(recipe: Recipe) -> dict[str, str]:
    """The recipe as hyper-parameters: flat, and texts. What the channels say is left out."""
    values = recipe.model_dump(mode="json", exclude_none=True, exclude={"data", "validation", "model"})
    return dict(flat(values))


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Tables as dotted keys; a text in quotes where YAML would read something else."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value).lower() if isinstance(value, bool) else str(value)


def packed_code(four_bits: bool = False) -> bytes:
    """This very Pumice, with what it requires beside what the image has."""
    asked = requires("pumice") or []
    needed = [each for each in asked if "extra ==" not in each and not CARRIED.match(each)]
    if four_bits:
        needed += [each.partition(";")[0].strip() for each in asked if each.startswith("bitsandbytes")]
    held = io.BytesIO()
    folder = Path(pumice.__file__).parent
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, f"pumice/{path.relative_to(folder).as_posix()}")
        text = "\n".join(needed).encode()
        entry = tarfile.TarInfo("pumice/requirements.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return held.getvalue()


def request(
    name: str, facts: Facts, role_arn: str, recipe: Recipe, options: Options, channels: list[str]
) -> dict[str, Any]:
    """What CreateTrainingJob is asked."""
    place = f"s3://{facts.bucket}/training/{name}"
    asked: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": role_arn,
        "HyperParameters": settings(recipe),
        "InputDataConfig": [channel(each, place, options) for each in channels],
        "OutputDataConfig": {"S3OutputPath": f"{place}/out"},
        "StoppingCondition": {"MaxRuntimeInSeconds": LONGEST},
        "Tags": facts.tags,
    }
    if options.serverless:
        asked["ServerlessJobConfig"] = {
            "BaseModelArn": options.serverless,
            "JobType": "FineTuning",
            "CustomizationTechnique": "DPO" if recipe.method == "dpo" else "SFT",
            "Peft": "LORA",
        }
        return asked
    asked |= {
        "AlgorithmSpecification": {
            "TrainingImage": images.training(options.gpu, facts.region),
            "TrainingInputMode": "FastFile",
            "ContainerEntrypoint": ["bash", "-c"],
            "ContainerArguments": [START],
            "MetricDefinitions": list(METRICS),
        },
        "ResourceConfig": {
            "InstanceType": options.instance,
            "InstanceCount": options.instances,
            "VolumeSizeInGB": 100,
        },
        "CheckpointConfig": {"S3Uri": f"{place}/checkpoints"},
    }
    if options.spot:
        asked["EnableManagedSpotTraining"] = True
        asked["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * LONGEST
    if options.subnets:
        asked["VpcConfig"] = {"Subnets": list(options.subnets), "SecurityGroupIds": list(options.groups)}
    return asked


def channel(name: str, place: str, options: Options) -> dict[str, Any]:
    """Read as it is asked for (FastFile), from S3 or, for the data, from FSx for Lustre."""
    if name == "train" and options.fsx:
        system, _, path = options.fsx.partition(":")
        source = {
            "FileSystemId": system,
            "FileSystemType": "FSxLustre",
            "DirectoryPath": path,
            "FileSystemAccessMode": "ro",
        }
        # FastFile is S3's alone.
        return {"ChannelName": name, "InputMode": "File", "DataSource": {"FileSystemDataSource": source}}
    source = {"S3DataType": "S3Prefix", "S3Uri": f"{place}/{name}/", "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "FastFile", "DataSource": {"S3DataSource": source}}


def job_name(facts: Facts, recipe: Recipe, home: Home) -> str:
    """The same for the same recipe and data."""
    data = Objects(home.s3).locate(recipe.data)
    if not data.is_file():
        raise InputError(f"{recipe.data} is no file.", "A job on SageMaker reads one file.", "Name a file.")
    return f"{facts.endpoint}-{short_hash([recipe.model_dump(mode='json'), sha256_file(data)])}"


def train(
    recipe: Recipe,
    facts: Facts,
    options: Options,
    account: Account,
    registry: Registry,
    home: Home,
    tell: Tell,
) -> Model:
    """Send, start, follow, and register what comes back. Interrupted, the job goes on; run the same again to follow."""
    sagemaker, s3 = account.client("sagemaker"), account.client("s3")
    name = job_name(facts, recipe, home)
    deployments.keep_new(facts, account, Documents(registry.database))
    if describe(sagemaker, name) is None:
        bucket.ensure(s3, facts)
        channels = send(recipe, facts, name, home, s3)
        stack = Stack(account.client("cloudformation"), stack_name(facts))
        outputs = stack.apply(body(training_stack(facts)), facts.tags, name[-12:], tell)
        sagemaker.create_training_job(**request(name, facts, outputs["RoleArn"], recipe, options, channels))
    tell(f"Job {name}")
    found = follow(sagemaker, name, tell)
    if found["TrainingJobStatus"] != "Completed":
        raise UnavailableError(
            f"The job {name} ended as {found['TrainingJobStatus']}.",
            found.get("FailureReason", "It gives no reason."),
            "Put it right and start it again: a changed recipe or file is a new job.",
        )
    home.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.cache) as folder:
        artifact = fetch(found["ModelArtifacts"]["S3ModelArtifacts"], account, Path(folder))
        return import_model(artifact, recipe.name or facts.name, registry, home, None, recipe.model)


def send(recipe: Recipe, facts: Facts, name: str, home: Home, s3: Any) -> list[str]:
    """Code, data and base to S3; the channels that there are."""
    place, objects = f"training/{name}", Objects(home.s3)
    s3.put_object(Bucket=facts.bucket, Key=f"{place}/code/pumice.tar.gz", Body=packed_code(recipe.weights.four_bits))
    channels = ["code"]
    for channel_, word in (("train", recipe.data), ("validation", recipe.validation)):
        if word:
            path = objects.locate(word)
            s3.upload_file(str(path), facts.bucket, f"{place}/{channel_}/{path.name}")
            channels.append(channel_)
    if isinstance(recipe.knobs, Pretrain):
        # A new model starts from none.
        return channels
    base = resolve.resolve(recipe.model, home)
    for path in sorted(base.folder.iterdir()):
        if path.is_file():
            s3.upload_file(str(path), facts.bucket, f"{place}/base/{path.name}")
    return [*channels, "base"]


def describe(sagemaker: Any, name: str) -> dict[str, Any] | None:
    """None for a job that there is not."""
    try:
        found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    except ClientError as error:
        if missing(error):
            return None
        raise
    return found


def follow(sagemaker: Any, name: str, tell: Tell) -> dict[str, Any]:
    """Tell what changes until it ends."""
    told = ""
    while True:
        found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
        numbers = {each["MetricName"]: each["Value"] for each in found.get("FinalMetricDataList", [])}
        line = f"  {found['SecondaryStatus']} " + " ".join(f"{key} {value:g}" for key, value in sorted(numbers.items()))
        if line != told:
            tell(line.rstrip())
            told = line
        if found["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return found
        time.sleep(PAUSE)


def remove(facts: Facts, account: Account, tell: Tell) -> None:
    """The role; what jobs left in the bucket goes with it."""
    Stack(account.client("cloudformation"), stack_name(facts)).delete(tell)
