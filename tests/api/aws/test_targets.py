"""What capacity that is kept answers under."""

from __future__ import annotations

import pytest
from live_server import Live

from pumice.api.aws import targets
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, custom_arn, find_version
from pumice.api.platform import Platform, open_platform
from pumice.bases.resolve import DEFAULT, EMBEDDER
from pumice.store.tables import open_database


@pytest.fixture
def platform(live: Live) -> Platform:
    return open_platform(live.home, open_database(live.home.database))


def test_provisioned_capacity_answers_by_arn_and_by_name(platform: Platform) -> None:
    version = find_version("blue@1", platform.registry)
    assert version
    platform.documents.put("bedrock-provisioned", "kept00000001", {"name": "kept", "modelArn": custom_arn(version)})
    by_arn = targets.find(platform, arn("bedrock", "provisioned-model/kept00000001"))
    assert (by_arn.id, by_arn.lane) == ("blue@1", "kept00000001")
    assert targets.find(platform, "kept") == by_arn
    # The version itself is served on demand, whatever is kept for it.
    assert targets.find(platform, "blue@1").lane is None
    gone = {"name": "gone", "modelArn": custom_arn(version).replace("blue:1/", "blue:1/0000")[:-4]}
    platform.documents.put("bedrock-provisioned", "kept00000002", gone)
    with pytest.raises(AwsError, match="was deleted") as refusal:
        targets.find(platform, "gone")
    assert refusal.value.code == "ModelNotReadyException"


def test_the_base_for_vectors_is_told_from_those_that_answer(platform: Platform) -> None:
    embedder = targets.find_embedder(platform, EMBEDDER)
    assert embedder
    assert embedder.name == EMBEDDER
    assert targets.find_embedder(platform, DEFAULT) is None
    assert targets.find_embedder(platform, "red") is None
