"""The templates: the same bytes for the same facts, clean by AWS's own schemas, and closed where they must be."""

from __future__ import annotations

import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud

from pumice.deploy import aws
from pumice.deploy.aws import bedrock, code, training
from pumice.deploy.aws.api import api_stack
from pumice.deploy.aws.endpoint import endpoint_stack
from pumice.deploy.aws.facts import Adapter, Facts, Mode, Variant
from pumice.deploy.aws.template import Template, body
from pumice.errors import InputError

A = Variant("A", "faq@3", "s3://bucket/models/a/model.tar.gz", 0.9)
B = Variant("B", "faq@4", "s3://bucket/models/b/", 0.1)

ADAPTERS = (
    Adapter("faq@3", "s3://bucket/models/faq-3/model.tar.gz"),
    Adapter("a_very_long_name_of_a_model@12", "s3://bucket/models/long/model.tar.gz"),
)


def facts(mode: Mode = "real-time", **changes: Any) -> Facts:
    instance = "" if mode == "serverless" else "ml.g5.xlarge"
    made = Facts("faq", "123456789012", "us-east-1", mode, instance, "image/vllm:1", (A, B), {"K": "v"}, "code/1.zip")
    return replace(made, **{"email": "me@example.com", "page": True, **changes})


def every() -> dict[str, Template]:
    modes: tuple[Mode, ...] = ("real-time", "serverless", "async")
    made = {f"endpoint-{mode}": endpoint_stack(facts(mode)) for mode in modes}
    shared = facts(variants=(A,), adapters=ADAPTERS, image="1.dkr.ecr.us-east-1.amazonaws.com/vllm:1")
    return {
        **made,
        "endpoint-adapters": endpoint_stack(shared),
        "api-adapters": api_stack(shared),
        "api": api_stack(facts()),
        "import": bedrock.import_stack(facts()),
        "training": training.training_stack(facts()),
    }


def resources(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in every().items():
        for logical, each in template["Resources"].items():
            if each["Type"] == kind:
                yield f"{name}/{logical}", each["Properties"]


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in resources("AWS::IAM::Role"):
        for policy in role["Policies"]:
            yield from ((name, each) for each in policy["PolicyDocument"]["Statement"])


def test_the_same_facts_make_the_same_bytes_and_fit_into_a_request() -> None:
    for first, second in zip(every().values(), every().values(), strict=True):
        assert body(first) == body(second)
        assert len(body(first)) < 51_200
    assert code.packed() == code.packed()


def test_awss_own_schemas_find_nothing(tools: Path, tmp_path: Path) -> None:
    for name, template in every().items():
        (tmp_path / f"{name}.json").write_text(body(template))
    broken = every()["api"]
    broken["Resources"]["Function"]["Properties"]["Handlr"] = "app.handler"
    (tmp_path / "broken").write_text(body(broken))
    lint = [str(tools / "cfn-lint"), "--regions", "us-east-1", "--template"]
    clean = subprocess.run([*lint, *sorted(map(str, tmp_path.glob("*.json")))], capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout
    caught = subprocess.run([*lint, str(tmp_path / "broken")], capture_output=True, text=True)
    assert caught.returncode and "Handlr" in caught.stdout


def test_no_role_may_do_everything() -> None:
    for name, statement in statements():
        assert not any("*" in action for action in statement["Action"]), name
        if statement["Resource"] == "*":
            # AWS knows no narrower resource for these.
            known = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData", "cloudwatch:GetMetricStatistics"}
            known.add("sagemaker:ListInferenceComponents")
            assert set(statement["Action"]) <= known, name


def test_only_aws_services_take_roles_and_only_named_ones() -> None:
    for name, role in resources("AWS::IAM::Role"):
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert list(trust["Principal"]) == ["Service"] and "*" not in trust["Principal"]["Service"], name


def test_buckets_are_private_and_encrypted_and_speak_tls_only() -> None:
    found = list(resources("AWS::S3::Bucket"))
    assert found
    for name, bucket in found:
        assert all(bucket["PublicAccessBlockConfiguration"].values()), name
        assert bucket["BucketEncryption"], name
    for name, policy in resources("AWS::S3::BucketPolicy"):
        refusals = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
        assert refusals[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name


def test_what_is_written_is_encrypted_and_goes_by_itself() -> None:
    for name, table in resources("AWS::DynamoDB::Table"):
        assert table["SSESpecification"]["SSEEnabled"] and table["TimeToLiveSpecification"]["Enabled"], name
    for name, log in resources("AWS::Logs::LogGroup"):
        assert log["RetentionInDays"] == 30, name
    functions = {each["FunctionName"] for _, each in resources("AWS::Lambda::Function")}
    logs = {each["LogGroupName"] for _, each in resources("AWS::Logs::LogGroup")}
    assert {f"/aws/lambda/{name}" for name in functions} == logs


def test_nobody_asks_without_a_key() -> None:
    for name, method in resources("AWS::ApiGateway::Method"):
        assert method["HttpMethod"] == "OPTIONS" or method["ApiKeyRequired"], name


def test_answers_stream_through_the_keyed_api_and_every_wait_ends_before_the_next(
    account: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDPOINT_NAME", "pumice-faq")
    monkeypatch.setenv("TABLE_NAME", "pumice-faq-requests")
    from pumice.deploy.aws.functions import app

    ((_, function),) = (each for each in resources("AWS::Lambda::Function") if each[0] == "api/Function")
    posts = [each["Integration"] for _, each in resources("AWS::ApiGateway::Method") if each["HttpMethod"] == "POST"]
    assert posts
    for each in posts:
        assert each["ResponseTransferMode"] == "STREAM"
        assert each["Uri"]["Fn::Sub"].endswith("/2021-11-15/functions/${Function.Arn}/response-streaming-invocations")
        assert app.LONGEST_STREAM + app.SECONDS < function["Timeout"] < each["TimeoutInMillis"] / 1000 <= 15 * 60
    wrapper = Path(function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"])
    with zipfile.ZipFile(io.BytesIO(code.packed()[1])) as packed:
        assert str(wrapper.parent) == "/var/task" and packed.getinfo(wrapper.name).external_attr >> 16 & 0o111


def test_adapters_stand_on_a_base_that_is_there_and_the_gateway_asks_no_other_component() -> None:
    made = every()
    components = {
        name: each
        for name, each in made["endpoint-adapters"]["Resources"].items()
        if each["Type"] == "AWS::SageMaker::InferenceComponent"
    }
    base = components.pop("BaseComponent")["Properties"]
    assert len(components) == 2 and base["Specification"]["ModelName"] == {"Fn::GetAtt": ["ModelA", "ModelName"]}
    for each in components.values():
        over = each["Properties"]["Specification"]["BaseInferenceComponentName"]
        assert over == base["InferenceComponentName"] and each["DependsOn"] == ["BaseComponent"]
        assert len(each["Properties"]["InferenceComponentName"]) <= 63
    variables = made["api-adapters"]["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    named = json.loads(variables["COMPONENTS"])
    assert set(named.values()) == {each["Properties"]["InferenceComponentName"] for each in components.values()}
    assert set(named) == {each.model for each in ADAPTERS}


def test_cloudfront_alone_reads_the_page_over_tls() -> None:
    _, distribution = next(resources("AWS::CloudFront::Distribution"))
    config = distribution["DistributionConfig"]
    origins = {each["Id"]: each for each in config["Origins"]}
    pages = config["DefaultCacheBehavior"]
    assert origins[pages["TargetOriginId"]]["OriginAccessControlId"] == {"Fn::GetAtt": ["OriginAccess", "Id"]}
    assert pages["ViewerProtocolPolicy"] == "redirect-to-https"


def test_the_api_under_the_pages_address_is_asked_over_tls_and_never_cached() -> None:
    _, distribution = next(resources("AWS::CloudFront::Distribution"))
    config = distribution["DistributionConfig"]
    origins = {each["Id"]: each for each in config["Origins"]}
    (asked,) = config["CacheBehaviors"]
    origin = origins[asked["TargetOriginId"]]
    # In words of AWS's: CachingDisabled, and AllViewerExceptHostHeader.
    assert asked["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert asked["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert (asked["PathPattern"], asked["ViewerProtocolPolicy"]) == ("/v1/*", "https-only")
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    # The address of the API and its stage, as callers from elsewhere have it.
    url = every()["api"]["Outputs"]["Url"]["Value"]["Fn::Sub"]
    assert url == f"https://{origin['DomainName']['Fn::Sub']}{origin['OriginPath']}/v1"
    # An error page would be shown in place of the API's own refusals.
    assert "CustomErrorResponses" not in config


def test_the_page_runs_under_a_policy_that_lets_in_nothing_from_elsewhere() -> None:
    _, made = next(resources("AWS::CloudFront::ResponseHeadersPolicy"))
    security = made["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    words = dict(each.strip().split(" ", 1) for each in policy_of(security).split(";"))
    assert words["default-src"] == words["frame-ancestors"] == words["base-uri"] == words["form-action"] == "'none'"
    assert words["script-src"] == words["connect-src"] == "'self'"
    assert [name for name, value in words.items() if "unsafe" in value] == ["style-src"]
    assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31_536_000
    config = next(resources("AWS::CloudFront::Distribution"))[1]["DistributionConfig"]
    for behaviour in (config["DefaultCacheBehavior"], *config["CacheBehaviors"]):
        assert behaviour["ResponseHeadersPolicyId"] == {"Ref": "PageHeaders"}


def policy_of(security: dict[str, Any]) -> str:
    policy: str = security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    return policy


def test_without_a_page_nothing_of_it_is_made() -> None:
    made = api_stack(facts(page=False))
    assert not [each for each in made["Resources"].values() if each["Type"].startswith(("AWS::CloudFront", "AWS::S3"))]
    assert not {"PageUrl", "PageBucket"} & set(made["Outputs"])
    assert '"Page' not in body(made)


def test_a_changed_method_makes_a_new_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    def deployments() -> set[str]:
        made = api_stack(facts())["Resources"]
        return {name for name, each in made.items() if each["Type"] == "AWS::ApiGateway::Deployment"}

    before = deployments()
    monkeypatch.setattr("pumice.deploy.aws.api.SECONDS", 20)
    assert deployments() != before


def test_an_idle_endpoint_goes_by_default_and_the_budget_is_on() -> None:
    made = endpoint_stack(facts())["Resources"]
    assert made["IdleRule"]["Properties"]["State"] == "ENABLED"
    assert made["Budget"]["Properties"]["Budget"]["BudgetLimit"]["Amount"] == 50
    assert endpoint_stack(facts("async"))["Resources"]["Target"]["Properties"]["MinCapacity"] == 0
    assert "IdleRule" not in endpoint_stack(facts("serverless"))["Resources"]


@pytest.mark.parametrize("name", ["Faq", "1faq", "f", "a" * 21, "a_b", "faq-"])
def test_a_name_that_no_bucket_could_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        facts(name=name)


def test_the_policy_in_the_documents_has_every_service_that_is_called_and_no_wildcard() -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploy-aws.md").read_text()
    policy = json.loads(page.split("```json\n")[1].split("```")[0])
    actions = [action for each in policy["Statement"] for action in [each["Action"]] if isinstance(action, str)]
    actions += [action for each in policy["Statement"] if isinstance(each["Action"], list) for action in each["Action"]]
    assert len(actions) == len(set(actions)) > 100 and not any("*" in action for action in actions)
    code = Path(aws.__file__).parent.rglob("*.py")
    called = {name for file in code for name in re.findall(r'client\("([\w-]+)"\)', file.read_text())}
    for each in api_stack(facts())["Resources"].values():
        service, _, kind = each["Type"].removeprefix("AWS::").partition("::")
        if service == "CloudFront":
            wanted = {f"cloudfront:{verb}{kind}" for verb in ("Create", "Get", "Update", "Delete")}
            assert wanted <= set(actions), kind
    named = {"sagemaker-runtime": "sagemaker", "bedrock-runtime": "bedrock", "service-quotas": "servicequotas"}
    made = {"cloudfront", "sns", "events", "budgets"}
    assert len(called) > 10
    assert {named.get(name, name) for name in called} | made <= {action.partition(":")[0] for action in actions}


def test_facts_come_back_from_json() -> None:
    from dataclasses import asdict

    for made in (facts(), facts(variants=(A,), adapters=ADAPTERS)):
        assert Facts.from_json(json.loads(json.dumps(asdict(made)))) == made
