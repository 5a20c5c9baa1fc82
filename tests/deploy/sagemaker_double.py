"""SageMaker without AWS: jobs run Pumice's training container as a process, endpoints run its serving container, one
process a variant, and requests go to them by weight. Service Quotas and Budgets too, which no emulator has.

Requests are validated by botocore's own models. What is not here: several machines.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.validate import ParamValidator
from listening import Listening

from pumice.api.aws.frames import event_frame

ACCOUNT, REGION = "000000000000", "us-east-1"
QUOTAS = {
    "ml.c5.xlarge for endpoint usage": 4.0,
    "ml.c5.xlarge for training job usage": 4.0,
    "ml.m5.xlarge for endpoint usage": 0.0,
    "ml.m5.xlarge for training job usage": 4.0,
    "ml.m5.xlarge for spot training job usage": 4.0,
}
SERVICES = ("sagemaker", "service-quotas", "budgets")
ENTRY = [sys.executable, "-m", "pumice.deploy.sagemaker"]


class Refusal(Exception):
    """One of AWS's errors."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.message, self.code = message, code


class Variant:
    """One serving process."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], weight: float, root: Path) -> None:
        self.url, self.process, self.weight, self.root = url, process, weight, root

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.root, ignore_errors=True)


class SageMaker:
    """The records and the processes."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.records: dict[str, dict[str, dict[str, Any]]] = {
            kind: {}
            for kind in ("training-job", "model", "endpoint-config", "endpoint", "component", "group", "package")
        }
        self.variants: dict[str, dict[str, Variant]] = {}
        self.jobs: dict[str, subprocess.Popen[str]] = {}
        self.broken = ""
        """The name of a variant whose container does not start."""

    # Records

    def arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.records[kind]:
            raise Refusal(f'Could not find {kind} "{self.arn(kind, name)}".')
        return self.records[kind][name]

    def put(self, kind: str, name: str, record: dict[str, Any]) -> dict[str, Any]:
        if name in self.records[kind]:
            raise Refusal(
                f"{kind} already exists: {name}", "ResourceInUse" if kind == "training-job" else "ValidationException"
            )
        now = time.time()
        self.records[kind][name] = {**record, "CreationTime": now, "LastModifiedTime": now}
        return self.records[kind][name]

    def pull(self, uri: str, target: Path) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        target.mkdir(parents=True, exist_ok=True)
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for each in page.get("Contents", []):
                rest = each["Key"].removeprefix(key).lstrip("/") or each["Key"].rpartition("/")[2]
                path = target / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                self.s3.download_file(bucket, each["Key"], str(path))

    def push(self, folder: Path, uri: str) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        for path in folder.rglob("*"):
            if path.is_file():
                self.s3.upload_file(str(path), bucket, f"{key.rstrip('/')}/{path.relative_to(folder).as_posix()}")

    # Training

    def CreateTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        state = {
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "ModelArtifacts": {"S3ModelArtifacts": ""},
        }
        job = self.put("training-job", name, {**asked, **state, "TrainingJobArn": self.arn("training-job", name)})
        threading.Thread(target=self.train, args=(name, job), daemon=True).start()
        return job

    def train(self, name: str, job: dict[str, Any]) -> None:
        root = Path(tempfile.mkdtemp(prefix="optml-"))
        try:
            self.run_job(name, job, root)
        except Exception as error:
            job.update(TrainingJobStatus="Failed", FailureReason=f"ClientError: {error}"[:1024])
            raise
        finally:
            job["LastModifiedTime"] = job["TrainingEndTime"] = time.time()
            shutil.rmtree(root, ignore_errors=True)

    def run_job(self, name: str, job: dict[str, Any], root: Path) -> None:
        config = root / "input" / "config"
        config.mkdir(parents=True)
        (root / "model").mkdir()
        (config / "hyperparameters.json").write_text(json.dumps(job.get("HyperParameters", {})))
        (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
        for channel in job.get("InputDataConfig", []):
            self.pull(channel["DataSource"]["S3DataSource"]["S3Uri"], root / "input" / "data" / channel["ChannelName"])
        kept = job.get("CheckpointConfig", {}).get("S3Uri")
        if kept:
            self.pull(kept, root / "checkpoints")
        job.update(SecondaryStatus="Training")
        environment = {**os.environ, **job.get("Environment", {}), "PUMICE_ML_ROOT": str(root), "TMPDIR": str(root)}
        process = self.jobs[name] = subprocess.Popen(
            [*ENTRY, "train"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        metrics: dict[str, float] = {}
        for line in process.stdout:
            for each in job["AlgorithmSpecification"].get("MetricDefinitions", []):
                if found := re.search(each["Regex"], line):
                    metrics[each["Name"]] = float(found[1])
            job["FinalMetricDataList"] = [
                {"MetricName": key, "Value": value, "Timestamp": time.time()} for key, value in metrics.items()
            ]
        code = process.wait()
        process.stdout.close()
        if kept:
            self.push(root / "checkpoints", kept)
        if any((root / "model").iterdir()):
            held = io.BytesIO()
            with tarfile.open(fileobj=held, mode="w:gz") as packed:
                for path in (root / "model").iterdir():
                    packed.add(path, path.name)
            bucket, _, key = job["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")
            key = f"{key.rstrip('/')}/{name}/output/model.tar.gz"
            self.s3.put_object(Bucket=bucket, Key=key, Body=held.getvalue())
            job["ModelArtifacts"] = {"S3ModelArtifacts": f"s3://{bucket}/{key}"}
        failure = root / "output" / "failure"
        if job["TrainingJobStatus"] == "Stopping":
            job.update(TrainingJobStatus="Stopped", SecondaryStatus="Stopped")
        elif code:
            reason = failure.read_text() if failure.exists() else ""
            job.update(TrainingJobStatus="Failed", FailureReason=f"AlgorithmError: {reason}, exit code: {code}")
        else:
            job.update(TrainingJobStatus="Completed", SecondaryStatus="Completed")

    def DescribeTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.get("training-job", asked["TrainingJobName"])

    def StopTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.get("training-job", asked["TrainingJobName"]).update(TrainingJobStatus="Stopping")
        self.jobs[asked["TrainingJobName"]].send_signal(signal.SIGTERM)
        return {}

    # Hosting

    def CreateModel(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["ModelName"]
        return self.put("model", name, {**asked, "ModelArn": self.arn("model", name)})

    def DeleteModel(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.records["model"].pop(asked["ModelName"])
        return {}

    def CreateEndpointConfig(self, asked: dict[str, Any]) -> dict[str, Any]:
        for each in asked["ProductionVariants"]:
            if "ModelName" in each:
                self.get("model", each["ModelName"])
            elif "ExecutionRoleArn" not in asked:
                raise Refusal("ExecutionRoleArn is required for an endpoint of inference components.")
        name = asked["EndpointConfigName"]
        return self.put("endpoint-config", name, {**asked, "EndpointConfigArn": self.arn("endpoint-config", name)})

    def DeleteEndpointConfig(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.records["endpoint-config"].pop(asked["EndpointConfigName"])
        return {}

    def ListEndpointConfigs(self, asked: dict[str, Any]) -> dict[str, Any]:
        named = [
            each for name, each in self.records["endpoint-config"].items() if asked.get("NameContains", "") in name
        ]
        keys = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": [{key: each[key] for key in keys} for each in named]}

    def CreateEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["EndpointName"]
        self.get("endpoint-config", asked["EndpointConfigName"])
        made = self.put(
            "endpoint", name, {**asked, "EndpointArn": self.arn("endpoint", name), "EndpointStatus": "Creating"}
        )
        try:
            self.roll(name, asked["EndpointConfigName"])
        except Refusal:
            del self.records["endpoint"][name]
            raise
        return made

    def UpdateEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.roll(asked["EndpointName"], asked["EndpointConfigName"])
        return self.get("endpoint", asked["EndpointName"])

    def roll(self, name: str, config: str) -> None:
        """The new processes come up beside the old ones, take over, and the old ones end."""
        endpoint = self.get("endpoint", name)
        old = self.variants.get(name, {})
        asked = self.get("endpoint-config", config)["ProductionVariants"]
        new = {each["VariantName"]: self.start(each) for each in asked if "ModelName" in each}
        self.variants[name] = new
        endpoint.update(EndpointConfigName=config, EndpointStatus="InService", LastModifiedTime=time.time())
        for variant in old.values():
            variant.end()

    def start(self, variant: dict[str, Any]) -> Variant:
        if variant["VariantName"] == self.broken:
            raise Refusal(
                f"The primary container for production variant {self.broken} did not pass the ping health check."
            )
        container = self.get("model", variant["ModelName"])["PrimaryContainer"]
        root = Path(tempfile.mkdtemp(prefix="hosting-"))
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        packed = io.BytesIO(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        with tarfile.open(fileobj=packed) as archive:
            archive.extractall(root / "model", filter="data")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        told = {"PUMICE_ML_ROOT": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), **container.get("Environment", {})}
        process = subprocess.Popen([*ENTRY, "serve"], env={**os.environ, **told})
        made = Variant(f"http://127.0.0.1:{port}", process, variant.get("InitialVariantWeight", 1.0), root)
        end = time.monotonic() + 90
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(f"{made.url}/ping", timeout=30):
                    return made
            except OSError:
                time.sleep(0.2)
        made.end()
        raise Refusal("The container did not pass the ping health check.")

    def DescribeEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["EndpointName"]
        variants = [
            {"VariantName": key, "CurrentWeight": each.weight, "DesiredWeight": each.weight}
            for key, each in self.variants.get(name, {}).items()
        ]
        return {**self.get("endpoint", name), "ProductionVariants": variants}

    def UpdateEndpointWeightsAndCapacities(self, asked: dict[str, Any]) -> dict[str, Any]:
        for each in asked["DesiredWeightsAndCapacities"]:
            self.variants[asked["EndpointName"]][each["VariantName"]].weight = each["DesiredWeight"]
        return self.get("endpoint", asked["EndpointName"])

    def DeleteEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.get("endpoint", asked["EndpointName"])
        if self.ListInferenceComponents({"EndpointNameEquals": asked["EndpointName"]})["InferenceComponents"]:
            raise Refusal("Cannot delete an endpoint with inference components.")
        for variant in self.variants.pop(asked["EndpointName"], {}).values():
            variant.end()
        del self.records["endpoint"][asked["EndpointName"]]
        return {}

    # Inference components

    def CreateInferenceComponent(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A base is a process of its own; an adapter is loaded by the process of its base."""
        name, endpoint, wanted = asked["InferenceComponentName"], asked["EndpointName"], asked["Specification"]
        self.get("endpoint", endpoint)
        if base := wanted.get("BaseInferenceComponentName"):
            variant = self.get("component", base)["VariantName"]
            folder = self.variants[endpoint][variant].root / "adapters" / name
            with tarfile.open(fileobj=io.BytesIO(self.object(wanted["Container"]["ArtifactUrl"]))) as archive:
                archive.extractall(folder, filter="data")
            self.tell(endpoint, variant, "POST", "", {"name": name, "src": str(folder), "preload": True, "pin": False})
        else:
            variant = asked["VariantName"]
            started = self.start({"VariantName": variant, "ModelName": wanted["ModelName"]})
            self.variants.setdefault(endpoint, {})[variant] = started
        arns = {"InferenceComponentArn": self.arn("inference-component", name), "EndpointArn": "arn:endpoint"}
        state = {**arns, "VariantName": variant, "InferenceComponentStatus": "InService"}
        return self.put("component", name, {**asked, **state})

    def DeleteInferenceComponent(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["InferenceComponentName"]
        found = self.get("component", name)
        endpoint, variant = found["EndpointName"], found["VariantName"]
        if any(
            each["Specification"].get("BaseInferenceComponentName") == name
            for each in self.records["component"].values()
        ):
            raise Refusal(f"Cannot delete {name}: adapters are over it.")
        if "BaseInferenceComponentName" in found["Specification"]:
            self.tell(endpoint, variant, "DELETE", f"/{name}")
        else:
            self.variants[endpoint].pop(variant).end()
        del self.records["component"][name]
        return {}

    def ListInferenceComponents(self, asked: dict[str, Any]) -> dict[str, Any]:
        name, endpoint = asked.get("NameContains", ""), asked.get("EndpointNameEquals")
        found = self.records["component"].items()
        return {
            "InferenceComponents": [
                each for key, each in found if name in key and endpoint in (None, each["EndpointName"])
            ]
        }

    def tell(self, endpoint: str, variant: str, method: str, path: str, body: Any = None) -> None:
        """Have a container load an adapter, or drop it. Raises `Refusal` with what it says."""
        url = f"{self.variants[endpoint][variant].url}/adapters{path}"
        try:
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), method=method)).close()
        except urllib.error.HTTPError as error:
            raise Refusal(f"The container refused the adapter: {error.read()!r}") from error

    def invoke(self, name: str, target: str | None, body: bytes, component: str | None = None) -> tuple[str, Any]:
        """Which variant answers, and its answer, open."""
        variants = self.variants.get(name)
        if not variants:
            raise Refusal(f"Endpoint {name} of account {ACCOUNT} not found.", "ValidationError")
        if target and target not in variants:
            raise Refusal(f"Variant {target} not found.", "ValidationError")
        told = {"content-type": "application/json"}
        if any(each["EndpointName"] == name for each in self.records["component"].values()):
            if component not in self.records["component"]:
                raise Refusal("Inference Component Name header is required.", "ValidationError")
            found = self.records["component"][component]
            target = found["VariantName"]
            if "BaseInferenceComponentName" in found["Specification"]:
                told["X-Amzn-SageMaker-Adapter-Identifier"] = component
        key = target or random.choices(list(variants), [each.weight for each in variants.values()])[0]
        request = urllib.request.Request(f"{variants[key].url}/invocations", body, told, method="POST")
        try:
            return key, urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            raise Refusal(
                f"Received server error ({error.code}) from primary: {error.read()!r}", "ModelError"
            ) from error

    def queue(self, name: str, location: str) -> dict[str, str]:
        """Where the answer of an asynchronous endpoint will lie; it is asked in a thread of its own."""
        asked = self.asynchronous(name)
        if asked is None:
            raise Refusal(f"Endpoint {name} is not asynchronous.", "ValidationError")
        id_ = uuid.uuid4().hex
        answer, failure = f"{asked['S3OutputPath']}{id_}.out", f"{asked['S3FailurePath']}{id_}-error.out"

        def ask() -> None:
            try:
                with self.invoke(name, None, self.object(location))[1] as said:
                    self.object(answer, said.read())
            except Refusal as refusal:
                self.object(failure, refusal.message.encode())

        threading.Thread(target=ask, daemon=True).start()
        return {"X-Amzn-SageMaker-OutputLocation": answer, "X-Amzn-SageMaker-FailureLocation": failure}

    def asynchronous(self, name: str) -> dict[str, str] | None:
        """Where an asynchronous endpoint puts its answers; None for one that is none."""
        config = self.get("endpoint-config", self.get("endpoint", name)["EndpointConfigName"])
        found: dict[str, str] | None = config.get("AsyncInferenceConfig", {}).get("OutputConfig")
        return found

    def object(self, uri: str, content: bytes | None = None) -> bytes:
        """Read one of S3's, or write it."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if content is not None:
            self.s3.put_object(Bucket=bucket, Key=key, Body=content)
            return content
        read: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return read

    # Registry

    def CreateModelPackageGroup(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["ModelPackageGroupName"]
        state = {"ModelPackageGroupArn": self.arn("model-package-group", name), "ModelPackageGroupStatus": "Completed"}
        return self.put("group", name, {**asked, **state})

    def DescribeModelPackageGroup(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.get("group", asked["ModelPackageGroupName"])

    def DeleteModelPackageGroup(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.records["group"].pop(asked["ModelPackageGroupName"])
        return {}

    def CreateModelPackage(self, asked: dict[str, Any]) -> dict[str, Any]:
        group = asked["ModelPackageGroupName"]
        self.get("group", group)
        version = 1 + sum(each["ModelPackageGroupName"] == group for each in self.records["package"].values())
        arn = self.arn("model-package", f"{group}/{version}")
        state = {"ModelPackageArn": arn, "ModelPackageVersion": version, "ModelPackageStatus": "Completed"}
        return self.put("package", arn, {"ModelApprovalStatus": "PendingManualApproval", **asked, **state})

    def UpdateModelPackage(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.get("package", asked["ModelPackageArn"]).update(asked)
        return asked

    def DescribeModelPackage(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.get("package", asked["ModelPackageName"])

    def ListModelPackages(self, asked: dict[str, Any]) -> dict[str, Any]:
        group = asked["ModelPackageGroupName"]
        self.get("group", group)
        return {
            "ModelPackageSummaryList": [
                each for each in self.records["package"].values() if each["ModelPackageGroupName"] == group
            ]
        }

    # Beside SageMaker

    def ListServiceQuotas(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "Quotas": [
                {"ServiceCode": "sagemaker", "QuotaName": name, "QuotaCode": f"L-{at:08X}", "Value": value}
                for at, (name, value) in enumerate(QUOTAS.items())
            ]
        }

    def end(self) -> None:
        """End every process."""
        for variants in self.variants.values():
            for variant in variants.values():
                variant.end()
        self.variants.clear()
        for job in self.jobs.values():
            job.kill()
            job.wait()


class Double(Listening):
    """The double on its port."""

    def __init__(self, s3_url: str, stacks: Callable[[str, dict[str, str]], tuple[int, bytes]] | None = None) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
        self.sagemaker = SageMaker(boto3.client("s3", endpoint_url=s3_url, **keys))
        session = botocore.session.get_session()
        models = {name: session.get_service_model(name) for name in SERVICES}
        self.models = {model.metadata["targetPrefix"]: model for model in models.values()}
        self.stacks = stacks
        self.listen()

    def answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        named = {key.lower(): value for key, value in headers.items()}
        try:
            if path.startswith("/endpoints/"):
                target = named.get("x-amzn-sagemaker-target-variant")
                _, _, name, how = path.split("/")
                if how == "async-invocations":
                    location = named["x-amzn-sagemaker-inputlocation"]
                    return 202, self.sagemaker.queue(name, location), b'{"InferenceId": "1"}'
                if name in self.sagemaker.records["endpoint"] and self.sagemaker.asynchronous(name):
                    raise Refusal(f"Endpoint {name} is asynchronous.", "ValidationError")
                component = named.get("x-amzn-sagemaker-inference-component")
                variant, said = self.sagemaker.invoke(name, target, body, component)
                told = {"x-Amzn-Invoked-Production-Variant": variant}
                if how == "invocations-response-stream":
                    return 200, {**told, "content-type": "application/vnd.amazon.eventstream"}, framed(said)
                with said:
                    return 200, {**told, "content-type": "application/json"}, said.read()
            service, _, operation = named.get("x-amz-target", ".").partition(".")
            if service not in self.models:
                raise Refusal(f"Unknown service {service}", "UnknownOperationException")
            return (
                200,
                {"content-type": "application/x-amz-json-1.1"},
                self.call(service, operation, json.loads(body or b"{}")),
            )
        except Refusal as error:
            told = json.dumps({"__type": error.code, "message": error.message, "Message": error.message}).encode()
            return 400, {"content-type": "application/x-amz-json-1.1", "x-amzn-errortype": error.code}, told

    def call(self, service: str, operation: str, asked: dict[str, Any]) -> bytes:
        model = self.models[service].operation_model(operation)
        report = ParamValidator().validate(asked, model.input_shape)
        if report.has_errors():
            raise Refusal(report.generate_report())
        handler = getattr(self.sagemaker, operation, None)
        if handler is None:
            raise Refusal(f"{operation} is not in this double", "NotImplemented")
        found = handler(asked)
        members = model.output_shape.members if model.output_shape else {}
        return json.dumps({key: value for key, value in found.items() if key in members}, default=str).encode()

    def close(self) -> None:
        super().close()
        self.sagemaker.end()


def framed(said: Any) -> Iterator[bytes]:
    """An answer as the parts of a stream, as they come from the container."""
    with said:
        while part := said.read1():
            yield event_frame("PayloadPart", part)
