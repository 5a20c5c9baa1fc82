"""Custom model deployments through boto3: a name that really answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bedrock_server import Aws, Models, aws, make_models, wait_for
from botocore.exceptions import ClientError

from pumice.api.aws.bedrock.deployments import users_of
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.records import Base
from pumice.store.tables import open_database


@pytest.fixture(scope="module")
def models(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(Home(tmp_path_factory.mktemp("deployments")), tiny, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[Aws]:
    with aws(models.home) as clients:
        yield clients


def deploy(server: Aws, name: str, model: str) -> str:
    made = server.bedrock.create_custom_model_deployment(modelDeploymentName=name, modelArn=model)
    return str(made["customModelDeploymentArn"])


def status(server: Aws, arn: str) -> str:
    return str(server.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn)["status"])


def test_a_deployment_becomes_active_and_answers_as_its_model(server: Aws, models: Models) -> None:
    arn = deploy(server, "answers", models.red)
    seen = {status(server, arn)}
    wait_for(lambda: seen.add(status(server, arn)) or seen, lambda seen: "Active" in seen)
    assert seen <= {"Creating", "Active"}
    assert server.text(arn) == server.text(models.red) != server.text(models.blue)
    with pytest.raises(ClientError) as again:
        deploy(server, "answers", models.blue)
    assert "answers" in str(again.value)


def test_an_update_has_another_model_answer(server: Aws, models: Models) -> None:
    arn = deploy(server, "updated", models.red)
    wait_for(lambda: status(server, arn), lambda found: found == "Active")
    server.bedrock.update_custom_model_deployment(customModelDeploymentIdentifier=arn, modelArn=models.blue)
    found = wait_for(
        lambda: server.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier="updated"),
        lambda found: found["updateDetails"]["updateStatus"] == "UpdateCompleted",
    )
    assert found["modelArn"] == models.blue
    assert server.text(arn) == server.text(models.blue)
    listed = server.bedrock.list_custom_model_deployments(nameContains="updated", modelArnEquals=models.blue)
    assert [each["customModelDeploymentArn"] for each in listed["modelDeploymentSummaries"]] == [arn]
    assert users_of(open_platform(models.home, open_database(models.home.database)), models.blue) == [arn]


def test_a_deleted_deployment_answers_no_more(server: Aws, models: Models) -> None:
    arn = deploy(server, "deleted", models.red)
    server.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        server.text(arn)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        status(server, arn)


def test_a_model_that_cannot_be_loaded_makes_a_failed_deployment_that_says_why(
    tiny: Base, home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = make_models(home, tiny, tmp_path_factory.mktemp("broken"))
    (models.home.models / "red" / "1" / "adapter_model.safetensors").unlink()
    with aws(models.home) as server:
        arn = deploy(server, "broken", models.red)
        found = wait_for(
            lambda: server.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn),
            lambda found: found["status"] != "Creating",
        )
    assert found["status"] == "Failed"
    assert found["failureMessage"]


def test_an_unknown_model_is_refused(server: Aws) -> None:
    unknown = "arn:aws:bedrock:us-east-1:000000000000:custom-model/tiny.none:1/000000000000"
    with pytest.raises(ClientError, match="ListCustomModels") as refused:
        deploy(server, "unknown", unknown)
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
