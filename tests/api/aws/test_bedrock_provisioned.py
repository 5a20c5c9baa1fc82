"""Provisioned throughput through boto3: engines of their own that answer, move over, come back and are given back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from bedrock_server import Aws, Models, aws, make_models, wait_for
from botocore.exceptions import ClientError

from pumice.api.aws.bedrock.users import users_of
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.engine.reserve import SLOTS_A_CORE
from pumice.records import Base
from pumice.store.documents import Documents
from pumice.store.tables import open_database


@pytest.fixture(scope="module")
def models(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(Home(tmp_path_factory.mktemp("provisioned")), tiny, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[Aws]:
    with aws(models.home) as clients:
        yield clients


@pytest.fixture
def provisioned(server: Aws, models: Models) -> Iterator[str]:
    """The ARN of one unit for `red`, in service."""
    arn = provision(server, models.red)
    in_service(server, arn)
    yield arn
    server.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)


def provision(server: Aws, model: str, name: str = "kept", units: int = 1, **more: Any) -> str:
    made = server.bedrock.create_provisioned_model_throughput(
        provisionedModelName=name, modelId=model, modelUnits=units, **more
    )
    return str(made["provisionedModelArn"])


def get(server: Aws, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = server.bedrock.get_provisioned_model_throughput(provisionedModelId=arn)
    return found


def in_service(server: Aws, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = wait_for(
        lambda: get(server, arn), lambda found: found["status"] not in ("Creating", "Updating")
    )
    assert found["status"] == "InService", found
    return found


def test_capacity_is_creating_then_answers_as_its_model(server: Aws, models: Models) -> None:
    arn = provision(server, models.red, tags=[{"key": "team", "value": "rocks"}])
    assert get(server, arn)["status"] == "Creating"
    with pytest.raises(ClientError) as early:
        server.text(arn)
    assert early.value.response["ResponseMetadata"]["HTTPStatusCode"] in (429, 503)
    found = in_service(server, arn)
    assert (found["modelArn"], found["modelUnits"]) == (models.red, 1)
    assert server.text(arn) == server.text(models.red) != server.text(models.blue)
    assert server.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "team", "value": "rocks"}]
    server.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        server.text(arn)


def test_what_the_machine_has_no_room_for_is_refused_with_the_figures(server: Aws, models: Models) -> None:
    most = SLOTS_A_CORE * (psutil.cpu_count(logical=False) or 1)
    with pytest.raises(ClientError, match=f"of {most}") as refused:
        provision(server, models.red, name="too-much", units=most)
    assert refused.value.response["Error"]["Code"] == "ServiceQuotaExceededException"
    listed = server.bedrock.list_provisioned_model_throughputs(nameContains="too-much")
    assert listed["provisionedModelSummaries"] == []


def test_a_change_of_model_fails_no_answer(server: Aws, models: Models, provisioned: str) -> None:
    red, blue = server.text(models.red), server.text(models.blue)
    said: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            said.append(server.text(provisioned))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for each in asking:
        each.start()
    wait_for(lambda: len(said), lambda count: count >= 2)
    server.bedrock.update_provisioned_model_throughput(
        provisionedModelId=provisioned, desiredModelId=models.blue, desiredProvisionedModelName="moved"
    )
    during = get(server, provisioned)
    assert (during["status"], during["desiredModelArn"]) in [("Updating", models.blue), ("InService", models.blue)]
    assert in_service(server, "moved")["modelArn"] == models.blue
    before = len(said)
    wait_for(lambda: len(said), lambda count: count >= before + 4)
    over.set()
    for each in asking:
        each.join()
    assert set(said) == {red, blue}
    # A thread that failed would have stopped adding: both went on to the end.
    assert said[-2:] == [blue, blue]
    platform = open_platform(models.home, open_database(models.home.database))
    assert users_of(platform, models.blue) == [provisioned]
    assert users_of(platform, models.red) == []


def test_a_commitment_cannot_be_deleted_before_its_end(server: Aws, tiny: Base, home: Home, tmp_path: Path) -> None:
    models = make_models(home, tiny, tmp_path)
    with aws(home) as own:
        arn = provision(own, models.red, commitmentDuration="OneMonth")
        found = get(own, arn)
        assert (found["commitmentExpirationTime"] - found["creationTime"]).days == 30
        with pytest.raises(ClientError, match="committed") as refused:
            own.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    assert refused.value.response["Error"]["Code"] == "ConflictException"


def test_capacity_is_there_again_after_a_restart_or_says_why_not(tiny: Base, home: Home, tmp_path: Path) -> None:
    models = make_models(home, tiny, tmp_path)
    with aws(home) as first:
        arn, broken = provision(first, models.red), provision(first, models.blue, name="broken")
        in_service(first, arn)
        in_service(first, broken)
        said = first.text(arn)
    (home.models / "blue" / "1" / "adapter_model.safetensors").unlink()
    with aws(home) as second:
        in_service(second, arn)
        assert second.text(arn) == said
        found = wait_for(lambda: get(second, broken), lambda found: found["status"] != "Creating")
        assert found["status"] == "Failed"
        assert found["failureMessage"]


def test_capacity_that_a_crash_left_without_an_owner_is_given_back(tiny: Base, home: Home, tmp_path: Path) -> None:
    models = make_models(home, tiny, tmp_path)
    with aws(home) as first:
        arn = provision(first, models.red)
        in_service(first, arn)
    documents = Documents(open_database(home.database))
    documents.delete("bedrock-provisioned", arn.rpartition("/")[2])
    most = SLOTS_A_CORE * (psutil.cpu_count(logical=False) or 1) // 2
    with aws(home) as second:
        in_service(second, provision(second, models.red, units=most))
    assert len(documents.list("lane")) == 1
