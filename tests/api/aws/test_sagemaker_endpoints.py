"""Endpoints over boto3: weighted variants that answer, change without a request lost, and come up after a restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from bedrock_server import wait_for
from botocore.exceptions import ClientError
from sagemaker_server import ROLE, Sage, make_home, refusal, sagemaker, variants

from pumice.records import Base
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.store.tables import open_database


@pytest.fixture(scope="module")
def sage(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sage]:
    """A server with the models `red` and `blue`, and an endpoint `both` on which red has all the weight."""
    with sagemaker(make_home(tmp_path_factory.mktemp("sage"), tiny)) as made:
        for name in ("red", "blue"):
            container = {"Image": "pumice", "Environment": {"PUMICE_MODEL": name}}
            made.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        made.serve("both", {"red": 1, "blue": 0})
        made.sm.create_endpoint(EndpointName="both", EndpointConfigName="both", Tags=[{"Key": "team", "Value": "lab"}])
        assert made.sm.describe_endpoint(EndpointName="both")["EndpointStatus"] == "Creating"
        told = refusal("ValidationError", made.ask, "both")
        assert told == "Endpoint both is Creating; wait for InService."
        made.wait("endpoint_in_service", EndpointName="both")
        yield made


@pytest.fixture(scope="module")
def texts(sage: Sage) -> dict[str, str]:
    """What each variant says; the adapters make sure that it is not the same."""
    said = {name: sage.ask("both", TargetVariant=name)["text"] for name in ("red", "blue")}
    assert said["red"] != said["blue"]
    return said


def shift(sage: Sage, endpoint: str, weights: dict[str, float]) -> None:
    wanted = [{"VariantName": name, "DesiredWeight": weight} for name, weight in weights.items()]
    sage.sm.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=wanted)


@pytest.mark.parametrize(("weights", "answers"), [({"red": 0, "blue": 1}, "blue"), ({"red": 1, "blue": 0}, "red")])
def test_weights_decide_who_answers(sage: Sage, texts: dict[str, str], weights: dict[str, float], answers: str) -> None:
    shift(sage, "both", weights)
    shown = sage.sm.describe_endpoint(EndpointName="both")["ProductionVariants"]
    assert {each["VariantName"]: each["CurrentWeight"] for each in shown} == weights
    assert [sage.ask("both") for _ in range(6)] == [{"text": texts[answers], "variant": answers}] * 6


def test_a_variant_that_is_named_answers_whatever_its_weight(sage: Sage, texts: dict[str, str]) -> None:
    for name in ("red", "blue"):
        assert sage.ask("both", TargetVariant=name) == {"text": texts[name], "variant": name}
    assert "TargetVariant 'green' is none of both's: red, blue" in refusal(
        "ValidationError", sage.ask, "both", TargetVariant="green"
    )


def invoke(sage: Sage, body: Any, **more: Any) -> Any:
    """The answer of the variant `red`, or of another one."""
    wanted = {"EndpointName": "both", "TargetVariant": "red", "Body": json.dumps(body), **more}
    return json.loads(sage.runtime.invoke_endpoint(**wanted)["Body"].read())


def test_both_forms_of_a_body_are_answered_in_kind(sage: Sage, texts: dict[str, str]) -> None:
    (plain,) = invoke(sage, {"inputs": "Say it.", "parameters": {"max_new_tokens": 3, "details": True}})
    details = {"finish_reason": "length", "generated_tokens": 3}
    assert plain == {"generated_text": texts["red"], "details": details}
    (full,) = invoke(sage, {"inputs": "Say it.", "parameters": {"max_new_tokens": 3, "return_full_text": True}})
    assert full == {"generated_text": "Say it." + texts["red"]}
    chat = invoke(sage, {"messages": [{"role": "user", "content": "Say it."}], "max_tokens": 3, "temperature": 0})
    (choice,) = chat["choices"]
    assert choice["message"]["content"] == texts["red"] and choice["finish_reason"] == "length"
    assert chat["model"] == "red@1" and chat["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"prompt": "Hi"}, "Body must be"),
        ({"inputs": "Hi", "parameters": {"max_new_tokens": 0}}, "max_new_tokens"),
        ({"inputs": "Hi", "parameters": {"top_q": 1}}, "top_q"),
        ({"messages": []}, "messages"),
        ({"inputs": "word " * 2000}, "maximum context length is"),
    ],
)
def test_a_body_that_cannot_be_read_is_named(sage: Sage, body: Any, names: str) -> None:
    assert names in refusal("ValidationError", invoke, sage, body)


def streamed(sage: Sage, body: Any) -> list[str]:
    got = sage.runtime.invoke_endpoint_with_response_stream(
        EndpointName="both", TargetVariant="blue", Body=json.dumps(body)
    )
    assert got["InvokedProductionVariant"] == "blue" and got["ContentType"] == "text/event-stream"
    whole = b"".join(each["PayloadPart"]["Bytes"] for each in got["Body"]).decode()
    return [line.removeprefix("data: ") for line in whole.split("\n\n") if line]


def test_a_stream_says_what_the_whole_answer_says(sage: Sage, texts: dict[str, str]) -> None:
    lines = [json.loads(each) for each in streamed(sage, {"inputs": "Say it.", "parameters": {"max_new_tokens": 3}})]
    assert "".join(each["token"]["text"] for each in lines) == texts["blue"] == lines[-1]["generated_text"]
    chat = {"messages": [{"role": "user", "content": "Say it."}], "max_tokens": 3, "temperature": 0}
    whole = invoke(sage, chat, TargetVariant="blue")["choices"][0]["message"]["content"]
    *chunks, end = streamed(sage, chat)
    told = [json.loads(each) for each in chunks]
    assert end == "[DONE]" and told[-1]["usage"]["completion_tokens"] == 3
    assert "".join(each["choices"][0]["delta"]["content"] for each in told[:-1]) == whole


def test_an_update_loses_no_request(sage: Sage, texts: dict[str, str]) -> None:
    sage.serve("from", {"red": 1})
    sage.serve("to", {"blue": 1})
    sage.sm.create_endpoint(EndpointName="moving", EndpointConfigName="from")
    sage.wait("endpoint_in_service", EndpointName="moving")
    said: list[Any] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                said.append(sage.ask("moving"))
            except ClientError as error:
                said.append(error)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    sage.sm.update_endpoint(EndpointName="moving", EndpointConfigName="to")
    sage.wait("endpoint_in_service", EndpointName="moving")
    last = sage.ask("moving")
    over.set()
    for asker in askers:
        asker.join()
    assert last == {"text": texts["blue"], "variant": "blue"}
    assert said and all(each in ({"text": texts[name], "variant": name} for name in texts) for each in said), said
    assert sage.sm.describe_endpoint(EndpointName="moving")["EndpointConfigName"] == "to"


def test_an_update_that_fails_leaves_the_old_variants(sage: Sage, texts: dict[str, str]) -> None:
    registry = Registry(open_database(sage.home.database), sage.home)
    red = registry.find("red")
    gone = {"Image": "pumice", "Environment": {"PUMICE_MODEL": "gone"}}
    assert "PUMICE_MODEL: there is no model 'gone'" in refusal(
        "ValidationException", sage.sm.create_model, ModelName="gone", ExecutionRoleArn=ROLE, PrimaryContainer=gone
    )
    documents = Documents(open_database(sage.home.database))
    documents.add("sagemaker-model", "gone", {"request": {}, "served": "gone@1"})
    sage.serve("with-gone", {"gone": 1})
    sage.serve("steady", {"red": 1})
    sage.sm.create_endpoint(EndpointName="steady", EndpointConfigName="steady")
    sage.wait("endpoint_in_service", EndpointName="steady")
    sage.sm.update_endpoint(EndpointName="steady", EndpointConfigName="with-gone")
    sage.wait("endpoint_in_service", EndpointName="steady")
    told = sage.sm.describe_endpoint(EndpointName="steady")
    assert "gone@1" in told["FailureReason"] and told["EndpointConfigName"] == "steady"
    assert sage.ask("steady") == {"text": texts["red"], "variant": "red"} and red.id == "red@1"


def test_components_answer_behind_one_endpoint(sage: Sage, texts: dict[str, str]) -> None:
    variant = {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sage.sm.create_endpoint_config(EndpointConfigName="shared", ExecutionRoleArn=ROLE, ProductionVariants=[variant])
    sage.sm.create_endpoint(EndpointName="shared", EndpointConfigName="shared")
    sage.wait("endpoint_in_service", EndpointName="shared")
    assert "name one" in refusal("ValidationError", sage.ask, "shared")
    for name in ("red", "blue"):
        sage.sm.create_inference_component(
            InferenceComponentName=f"part-{name}",
            EndpointName="shared",
            VariantName="AllTraffic",
            Specification={"ModelName": name, "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 128}},
            RuntimeConfig={"CopyCount": 1},
        )
    for name in ("red", "blue"):
        told = wait_for(
            partial(sage.sm.describe_inference_component, InferenceComponentName=f"part-{name}"),
            lambda told: told["InferenceComponentStatus"] != "Creating",
        )
        assert told["InferenceComponentStatus"] == "InService" and told["Specification"]["ModelName"] == name
        assert sage.ask("shared", InferenceComponentName=f"part-{name}")["text"] == texts[name]
    listed = sage.sm.list_inference_components(EndpointNameEquals="shared", MaxResults=1)
    assert [each["InferenceComponentName"] for each in listed["InferenceComponents"]] == ["part-blue"]
    told = refusal("ValidationException", sage.sm.delete_endpoint, EndpointName="shared")
    assert "delete part-" in told
    for name in ("red", "blue"):
        sage.sm.delete_inference_component(InferenceComponentName=f"part-{name}")
    sage.sm.delete_endpoint(EndpointName="shared")
    sage.wait("endpoint_deleted", EndpointName="shared")
    assert "Could not find endpoint 'shared'" in refusal("ValidationError", sage.ask, "shared")


def test_tags_are_given_changed_and_go_with_their_thing(sage: Sage) -> None:
    arn = sage.sm.describe_endpoint(EndpointName="both")["EndpointArn"]
    assert sage.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "lab"}]
    sage.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "one"}])
    sage.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert sage.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "one"}]
    absent = arn.replace("both", "absent")
    assert "Could not find endpoint" in refusal("ValidationException", sage.sm.list_tags, ResourceArn=absent)


def test_lists_have_pages_and_statuses(sage: Sage) -> None:
    pages = sage.sm.get_paginator("list_models").paginate(NameContains="e", PaginationConfig={"PageSize": 1})
    assert {"red", "blue"} <= {each["ModelName"] for page in pages for each in page["Models"]}
    assert sage.sm.list_endpoints(StatusEquals="Creating")["Endpoints"] == []
    shown = sage.sm.list_endpoints(StatusEquals="InService", NameContains="both")["Endpoints"]
    told = sage.sm.describe_endpoint(EndpointName="both")
    assert [each["LastModifiedTime"] for each in shown] == [told["LastModifiedTime"]]
    assert told["CreationTime"] <= told["LastModifiedTime"]


def test_mistakes_in_what_is_made_are_named(sage: Sage) -> None:
    sm = sage.sm
    assert "endpoint 'both' already" in refusal(
        "ValidationException", sm.create_endpoint, EndpointName="both", EndpointConfigName="both"
    )
    config = sm.create_endpoint_config
    twice = variants({"red": 1}) * 2
    assert "twice" in refusal("ValidationException", config, EndpointConfigName="x", ProductionVariants=twice)
    none = variants({"green": 1})
    told = refusal("ValidationException", config, EndpointConfigName="x", ProductionVariants=none)
    assert told.startswith("Could not find model 'green'. There is ")
    shadow = {"ProductionVariants": variants({"red": 1}), "ShadowProductionVariants": variants({"blue": 1})}
    assert "ShadowProductionVariants" in refusal("ValidationException", config, EndpointConfigName="x", **shadow)


def test_approval_puts_a_version_into_production(sage: Sage) -> None:
    sm, registry = sage.sm, Registry(open_database(sage.home.database), sage.home)
    sm.create_model_package_group(ModelPackageGroupName="Shades")
    container = {"Image": "pumice", "Environment": {"PUMICE_MODEL": "red"}}
    arn = sm.create_model_package(
        ModelPackageGroupName="Shades",
        InferenceSpecification={"Containers": [container], "SupportedContentTypes": ["application/json"],
                                "SupportedResponseMIMETypes": ["application/json"]},
    )["ModelPackageArn"]  # fmt: skip
    assert registry.find("red").stage == "candidate"
    sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="It is red.")
    assert registry.find("red").stage == "production"
    told = sm.describe_model_package(ModelPackageName=arn)
    assert told["ModelApprovalStatus"] == "Approved" and told["ApprovalDescription"] == "It is red."
    assert (
        sm.list_model_packages(ModelPackageGroupName="Shades", ModelApprovalStatus="Rejected")[
            "ModelPackageSummaryList"
        ]
        == []
    )
    sm.create_model(ModelName="packaged", ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": arn})
    assert "still has 1 packages" in refusal(
        "ConflictException", sm.delete_model_package_group, ModelPackageGroupName="Shades"
    )
    sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")
    assert registry.find("red@1").stage == "archived"
    sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="PendingManualApproval")
    sm.delete_model_package(ModelPackageName=arn)
    sm.delete_model_package_group(ModelPackageGroupName="Shades")


@pytest.mark.parametrize("left", ["Creating", "Updating"])
def test_what_a_killed_server_left_comes_up_by_itself(
    sage: Sage, tiny: Base, tmp_path_factory: pytest.TempPathFactory, left: str
) -> None:
    home = make_home(tmp_path_factory.mktemp("left"), tiny)
    red, blue = (
        {"config": name, "variants": {name: {"weight": 1.0, "served": f"{name}@1"}}} for name in ("red", "blue")
    )
    # As it lies there when the server is killed while an engine starts.
    now = blue if left == "Creating" else red
    body = {"request": {}, **now, "status": left, "failure": "", "pending": blue}
    Documents(open_database(home.database)).add("sagemaker-endpoint", "left", body)
    with sagemaker(home) as again:
        wait_for(lambda: again.sm.list_endpoints(StatusEquals="InService")["Endpoints"], bool)
        assert again.ask("left")["variant"] == "blue"
