"""Each thing that stands in the way has its own sentence, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from sagemaker_double import QUOTAS

from pumice import show_deploy
from pumice.cli import deploy as cli
from pumice.config import Home
from pumice.deploy.aws import ab, apply, deployments, page, plan, prices, quotas, stacks, training
from pumice.deploy.aws.account import Account, heard
from pumice.deploy.aws.destroy import destroy
from pumice.deploy.aws.facts import PLAN_TAG, Facts, Variant
from pumice.deploy.aws.fetch import fetch
from pumice.deploy.sagemaker import images
from pumice.errors import ConflictError, DeniedError, InputError, NotFoundError, UnavailableError
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.store.tables import open_database


@pytest.fixture
def registry(tiny: Any, home: Home, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(stacks, "PAUSE", 0.1)
    home.root.mkdir(parents=True)
    database = open_database(home.database)
    made = Registry(database, home)
    import_model(tiny.folder, "faq", made, home, None)
    yield made
    database.dispose()


def wanted(**changes: Any) -> plan.Wanted:
    return plan.Wanted(**{"model": "faq", "name": "sad", "instance": "ml.c5.xlarge", "image": "pumice:test", **changes})


def planned(registry: Registry, **changes: Any) -> plan.Plan:
    return plan.make(wanted(**changes), Account(None, None), registry, registry.home)


def nothing_is_left(account: Cloud) -> bool:
    there = [each["Name"] for each in account.client("s3").list_buckets()["Buckets"] if "-sad-" in each["Name"]]
    active = account.client("cloudformation").list_stacks()["StackSummaries"]
    named = [each for each in active if "-sad-" in each["StackName"] and each["StackStatus"] != "DELETE_COMPLETE"]
    return not there and not named and "pumice-sad" not in account.double.sagemaker.records["endpoint"]


def test_wrong_credentials(registry: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN000000000")
    with pytest.raises(DeniedError, match="does not accept these credentials"):
        planned(registry)


def test_no_credentials(registry: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DeniedError, match="No AWS credentials were found"):
        planned(registry)


def test_an_unknown_profile(account: Cloud) -> None:
    with pytest.raises(InputError, match="nobody"):
        Account("nobody", None)


def test_a_missing_permission_is_named(registry: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = account.client("iam")
    iam.create_user(UserName="poor")
    key = iam.create_access_key(UserName="poor")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with pytest.raises(DeniedError, match=r"A permission is missing: s3:"), heard():
        Account(None, None).client("s3").create_bucket(Bucket="pumice-sad-bucket")


def test_a_quota_of_zero(registry: Registry) -> None:
    with pytest.raises(ConflictError, match=r"'ml.m5.xlarge for endpoint usage' is 0") as caught:
        planned(registry, instance="ml.m5.xlarge")
    assert "request-service-quota-increase" in str(caught.value)


def test_a_region_without_the_instance(registry: Registry) -> None:
    with pytest.raises(ConflictError, match=r"has no quota named 'ml.g5.xlarge"):
        planned(registry, instance="ml.g5.xlarge")


def test_an_instance_that_is_too_small(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"needs 9.0 GB of memory, and ml.c5.xlarge has 8"):
        plan.check_memory(wanted(), 9.0, 8)


def test_a_name_that_is_taken(registry: Registry, account: Cloud) -> None:
    record = {"EndpointName": "pumice-sad", "EndpointArn": "arn:aws:sagemaker:us-east-1:0:endpoint/pumice-sad"}
    times = {"CreationTime": 1.0, "LastModifiedTime": 1.0, "EndpointStatus": "InService", "EndpointConfigName": "x"}
    account.double.sagemaker.records["endpoint"]["pumice-sad"] = {**record, **times}
    try:
        with pytest.raises(ConflictError, match="The name sad is taken"):
            planned(registry)
    finally:
        del account.double.sagemaker.records["endpoint"]["pumice-sad"]


def test_an_expired_plan(registry: Registry, tmp_path: Path) -> None:
    made = planned(registry).to_json()
    made["made"] = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(made))
    with pytest.raises(ConflictError, match="has expired"):
        plan.load(path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"facts": 3}'])
def test_what_is_no_plan(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is no plan"):
        plan.load(path)
    with pytest.raises(InputError, match="There is no file"):
        plan.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        plan.load(tmp_path)


def test_a_plan_whose_time_has_no_zone_is_none(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**planned(registry).to_json(), "made": "2026-01-01T00:00:00"}))
    with pytest.raises(InputError, match="is no plan"):
        plan.load(path)


def test_an_account_that_has_moved_on(registry: Registry, account: Cloud) -> None:
    made = planned(registry)
    client = account.client("cloudformation")
    topic = json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}})
    client.create_stack(StackName="pumice-sad-api", TemplateBody=topic)
    try:
        with pytest.raises(ConflictError, match="moved on"):
            plan.check_current(made, Account(None, None))
        with pytest.raises(ConflictError, match="taken"):
            planned(registry)
    finally:
        client.delete_stack(StackName="pumice-sad-api")


def test_a_half_made_stack_is_said() -> None:
    class Client:
        def describe_stacks(self, **_: str) -> dict[str, Any]:
            return {"Stacks": [{"StackStatus": "ROLLBACK_FAILED"}]}

    with pytest.raises(ConflictError, match="half made: ROLLBACK_FAILED"):
        stacks.check_whole(stacks.Stack(Client(), "pumice-sad-api"))


def test_a_console_that_is_not_built_is_left_out_and_the_plan_says_so(
    registry: Registry,
    account: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path)
    made = planned(registry)
    assert not made.facts.page
    show_deploy.plan(made)
    said = capsys.readouterr().err
    assert "Without a page: the console is not built here." in said and "CloudFront" not in said

    from_elsewhere = replace(made, facts=replace(made.facts, page=True))
    with pytest.raises(ConflictError, match="has a page, and the console is not built here"):
        apply.apply(from_elsewhere, Account(None, None), registry, registry.home, lambda _: None)
    assert nothing_is_left(account)

    (tmp_path / "index.html").write_text("built")
    assert planned(registry).facts.page


def test_a_page_that_is_there_stays_where_the_console_is_not_built(
    registry: Registry, account: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path)
    topic = {"Resources": {"T": {"Type": "AWS::SNS::Topic"}}, "Outputs": {"PageUrl": {"Value": "https://d1"}}}
    tags = [{"Key": PLAN_TAG, "Value": "earlier"}]
    client = account.client("cloudformation")
    client.create_stack(StackName="pumice-sad-api", TemplateBody=json.dumps(topic), Tags=tags)
    try:
        client.get_waiter("stack_create_complete").wait(StackName="pumice-sad-api", WaiterConfig={"Delay": 0.1})
        made = planned(registry)
        assert made.facts.page
        page.check(made.facts, Account(None, None))
    finally:
        client.delete_stack(StackName="pumice-sad-api")


def test_an_endpoint_that_does_not_start_is_taken_back(registry: Registry, account: Cloud) -> None:
    made, told = planned(registry), []
    account.double.sagemaker.broken = "A"
    try:
        with pytest.raises(UnavailableError, match="ROLLBACK_COMPLETE") as caught:
            apply.apply(made, Account(None, None), registry, registry.home, told.append)
    finally:
        account.double.sagemaker.broken = ""
    assert "did not pass the ping health check" in str(caught.value)
    assert nothing_is_left(account)
    with pytest.raises(NotFoundError):
        deployments.find("sad", Documents(registry.database))


def test_an_interrupted_apply_goes_on(registry: Registry, account: Cloud) -> None:
    made = planned(registry)

    def interrupt(line: str) -> None:
        if line.startswith("Endpoint"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply.apply(made, Account(None, None), registry, registry.home, interrupt)
    told: list[str] = []
    account.double.sagemaker.broken = "A"
    try:
        with pytest.raises(UnavailableError):
            apply.apply(made, Account(None, None), registry, registry.home, told.append)
    finally:
        account.double.sagemaker.broken = ""
    assert any("is there already" in line for line in told)
    assert nothing_is_left(account)


def test_what_answers_is_not_taken_away_when_its_plan_is_applied_again_and_fails(
    registry: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planned(registry)
    apply.apply(made, Account(None, None), registry, registry.home, print)
    try:

        def fail(*_: Any) -> None:
            raise UnavailableError("No network.")

        monkeypatch.setattr(apply, "build", fail)
        with pytest.raises(UnavailableError, match="No network"):
            apply.apply(made, Account(None, None), registry, registry.home, print)
        assert "pumice-sad" in account.double.sagemaker.records["endpoint"]
        assert deployments.find("sad", Documents(registry.database)).facts == made.facts
    finally:
        with heard():
            destroy(made.facts, Account(None, None), print)
    assert nothing_is_left(account)


def test_a_refused_upload_is_a_sentence(account: Cloud, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    with pytest.raises(UnavailableError, match=r"AWS refused \w+: .*NoSuchBucket"), heard():
        account.client("s3").upload_file(str(tmp_path / "weights"), "pumice-nowhere", "weights")


def test_a_training_under_a_deployments_name_keeps_the_deployment(
    registry: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, store = planned(registry).facts, Documents(registry.database)
    deployments.Deployed(facts, None, "pumice:test").keep(store)
    monkeypatch.setattr(cli, "documents", lambda: store)
    assert cli.new_facts("sad", Account(None, None)) == facts
    assert deployments.find("sad", store).image == "pumice:test"
    with pytest.raises(ConflictError, match="is deployed in the account"):
        cli.new_facts("sad", Account(None, "eu-west-3"))


def test_a_folder_of_s3_is_not_its_neighbour(account: Cloud, tmp_path: Path) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="pumice-neighbours")
    for key in ("jobs/4/inner/config.json", "jobs/42/config.json"):
        s3.put_object(Bucket="pumice-neighbours", Key=key, Body=key.encode())
    found = fetch("s3://pumice-neighbours/jobs/4", Account(None, None), tmp_path / "one")
    assert (found / "config.json").read_text() == "jobs/4/inner/config.json"
    s3.put_object(Bucket="pumice-neighbours", Key="cut/model.tar.gz", Body=gzip.compress(b"0" * 2000)[:-9])
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("s3://pumice-neighbours/cut", Account(None, None), tmp_path / "two")


def test_prices_may_be_the_users_own(tmp_path: Path) -> None:
    (tmp_path / prices.FILE).write_text('{"ml.g5.xlarge": 2}')
    assert prices.find("ml.g5.xlarge", prices.machines(tmp_path)).price == 2
    (tmp_path / prices.FILE).write_text("[]")
    with pytest.raises(InputError, match="no table of prices"):
        prices.machines(tmp_path)
    with pytest.raises(NotFoundError, match=r"ml.none"):
        prices.find("ml.none", prices.MACHINES)


def test_quotas_are_found_by_name(account: Cloud) -> None:
    asked = quotas.needed("spot", "ml.m5.xlarge", 1)
    (found,) = quotas.looked_up(asked, Account(None, None))
    assert found.value == QUOTAS["ml.m5.xlarge for spot training job usage"]


def required(name: str, known: dict[str, list[Requirement]]) -> dict[str, list[Requirement]]:
    """Everything that is installed with a distribution, as the metadata of each says, and what each asks of it."""
    for each in map(Requirement, requires(name) or []):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            known.setdefault(each.name.lower(), []).append(each)
            if len(known[each.name.lower()]) == 1:
                required(each.name, known)
    return known


def sent(four_bits: bool) -> set[str]:
    """The libraries that are installed in the image."""
    with tarfile.open(fileobj=io.BytesIO(training.packed_code(four_bits))) as archive:
        file = archive.extractfile("pumice/requirements.txt")
        assert file
        return {Requirement(line).name for line in file.read().decode().splitlines()}


def test_what_pumice_requires_is_in_awss_images() -> None:
    asked, brought = required("pumice", {}), sent(four_bits=False)
    assert "transformers" in brought and sent(four_bits=True) - brought == {"bitsandbytes"}
    for image in images.TRAINING.values():
        for library, version in image.carries.items():
            # pip leaves what is there alone only where everybody is content with it.
            assert library not in brought
            for each in asked[library]:
                assert each.specifier.contains(version), f"{image.name}: {library} {version} is not {each}"
        for name in asked:
            python = metadata(name)["Requires-Python"] or ""
            assert SpecifierSet(python).contains(image.python), f"{image.name}: {name} needs Python {python}"


def row(variant: str, milliseconds: float, score: float | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"variant": variant, "status": 200.0, "milliseconds": milliseconds}
    return made if score is None else {**made, "score": score}


def two() -> Facts:
    variants = (Variant("A", "faq@1", "s3://b/a"), Variant("B", "faq@2", "s3://b/b"))
    return Facts("sad", "000000000000", "us-east-1", "real-time", "ml.c5.xlarge", "", variants)


def test_a_candidate_is_better_worse_or_undecided() -> None:
    log = [row("A", 100 + at, 0.0) for at in range(20)] + [row("B", 200 + at, 1.0) for at in range(20)]
    found = ab.sides(two(), [*log, {"variant": "-", "status": 503.0, "milliseconds": 1.0}])
    assert [ab.of(measure, found).verdict for measure in ("feedback", "milliseconds")] == ["better", "worse"]
    few = ab.sides(two(), [row("A", 1, 0.0), row("B", 1, 1.0)])
    assert ab.of("feedback", few).verdict == "undecided"
    assert ab.of("feedback", ab.sides(two(), [])).difference is None


def test_only_machines_that_answer_at_once_are_compared() -> None:
    for mode in ("async", "serverless"):
        with pytest.raises(ConflictError, match=f"sad is {mode}"):
            ab.check_shape(replace(two(), mode=mode))  # type: ignore[arg-type]
    ab.check_shape(two())


def test_an_api_that_is_there_is_not_forgotten_by_an_asynchronous_plan(registry: Registry, account: Cloud) -> None:
    client = account.client("cloudformation")
    topic = json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}})
    client.create_stack(StackName="pumice-sad-api", TemplateBody=topic)
    try:
        with pytest.raises(ConflictError, match="has an API"):
            planned(registry, mode="async")
    finally:
        client.delete_stack(StackName="pumice-sad-api")


def test_one_variant_has_nothing_to_compare() -> None:
    facts = Facts("sad", "000000000000", "us-east-1", "real-time", "", "", two().variants[:1])
    with pytest.raises(ConflictError, match="nothing to compare"):
        ab.check_two(facts)


def test_a_model_that_no_gpu_holds_alone_lies_over_all_of_them() -> None:
    four = next(each for each in prices.MACHINES if each.processes == 4)
    assert plan.over_gpus("vllm", four, 40.0) == {"SM_VLLM_TENSOR_PARALLEL_SIZE": "4"}
    alone = [("vllm", four, 16.0), ("pumice", four, 40.0), ("vllm", None, 4.0), ("vllm", prices.MACHINES[4], 20.0)]
    assert all(plan.over_gpus(*each) == {} for each in alone)  # type: ignore[arg-type]
