"""Versions are numbered without gaps or doubles, found by name, and keep where they came from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Engine, insert

from pumice.config import Home
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.evaluate import report as reports
from pumice.records import Base, Interval, Model, Report, Sample, Scores, Stage
from pumice.registry.models import Registry
from pumice.store.tables import jobs
from pumice.train.recipe import Recipe

BASE = Base(
    "smol", Path("/bases/smol"), "ab" * 32, "folder:/bases/smol", "LlamaForCausalLM", 9, 8, 2, 99, 512, "cd" * 32
)
RECIPE = Recipe(data="/data/faq.jsonl", name="faq", epochs=3.0)
REPORT = Report(
    set="held-out rows",
    count=20,
    base=Scores(3.0, 20.1, 0.0, 0.1, 0.1, 3, 3.5),
    tuned=Scores(1.0, 2.7, 0.5, 0.6, 0.6, 19, 3.6),
    differences={name: Interval(0.5, 0.25, 0.75) for name in ("loss", "exact_match", "token_f1", "rouge_l")},
    verdict="better",
    forgetting=0.1,
    samples=(Sample("q?", "r", "b", "t"),),
)


@pytest.fixture
def registry(either_home: Home, database: Engine) -> Registry:
    return Registry(database, either_home)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("what peft wrote")
    return folder


def register(registry: Registry, artifact: Path, name: str = "faq", job: str | None = None) -> Model:
    return registry.register(RECIPE.model_copy(update={"name": name}), artifact, BASE, "ef" * 32, job, REPORT)


def record_job(registry: Registry, id: str) -> str:
    values = {"id": id, "task": "run", "state": "running", "spec": {}, "created": datetime.now(UTC)}
    with registry.database.begin() as connection:
        connection.execute(insert(jobs).values(values))
    return id


def test_a_version_keeps_its_files_and_its_lineage(registry: Registry, artifact: Path) -> None:
    job = record_job(registry, "faq-0001")
    model = register(registry, artifact, job=job)
    assert (model.id, model.stage, model.method, model.adapter) == ("faq@1", Stage.CANDIDATE, "lora", True)
    assert (model.base, model.base_sha256, model.base_source) == (BASE.name, BASE.sha256, BASE.source)
    assert (model.template_sha256, model.data_sha256, model.job) == (BASE.template_sha256, "ef" * 32, job)
    assert model.recipe == RECIPE.model_dump(mode="json") and model.report == REPORT
    assert registry.find("faq@1") == model
    assert model.folder == registry.home.models / "faq" / "1"
    assert (model.folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert reports.from_json(orjson.loads((model.folder / "report.json").read_bytes())) == REPORT
    assert (model.folder / "README.md").read_text().startswith("---\nbase_model: smol\n")
    assert (artifact / "README.md").read_text() == "what peft wrote"
    assert list(registry.home.cache.iterdir()) == []


def test_a_model_without_an_evaluation_has_no_report(registry: Registry, artifact: Path) -> None:
    model = registry.register(RECIPE, artifact, BASE, "ef" * 32, None, None)
    assert model.report is None and not (model.folder / "report.json").exists()


def test_versions_count_up_by_name(registry: Registry, artifact: Path) -> None:
    ids = [register(registry, artifact, name).id for name in ("faq", "legal", "faq", "faq")]
    assert ids == ["faq@1", "legal@1", "faq@2", "faq@3"]
    assert [model.id for model in registry.list()] == ["faq@3", "faq@2", "faq@1", "legal@1"]
    assert [model.id for model in registry.list("legal")] == ["legal@1"]


def test_a_job_that_registers_again_gets_the_same_version(registry: Registry, artifact: Path) -> None:
    job = record_job(registry, "faq-0001")
    first = register(registry, artifact, job=job)
    assert register(registry, artifact, job=job) == first
    assert registry.list() == (first,)
    assert [path.name for path in (registry.home.models / "faq").iterdir()] == ["1"]


def test_what_a_killed_registration_left_is_not_taken_for_a_version(registry: Registry, artifact: Path) -> None:
    left = registry.home.models / "faq" / "1"
    left.mkdir(parents=True)
    (left / "half").touch()
    assert not registry.has("faq")
    model = register(registry, artifact)
    assert model.id == "faq@1" and model.folder == left and not (left / "half").exists()


def test_a_registration_that_fails_leaves_no_record(registry: Registry, artifact: Path) -> None:
    (registry.home.models).mkdir(parents=True)
    (registry.home.models / "faq").write_text("a file where the folder should be")
    with pytest.raises(FileExistsError):
        register(registry, artifact)
    assert registry.list() == () and not registry.has("faq")


def test_processes_that_register_at_once_get_different_versions(registry: Registry, artifact: Path) -> None:
    code = f"""
import sys
from dataclasses import replace
from datetime import UTC, datetime
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from pumice.config import Home
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from test_registry_models import register
home = Home(Path({str(registry.home.root)!r}), {registry.home.server!r})
ours = Registry(open_database(home.database), home)
print("ready", flush=True); sys.stdin.readline()
for _ in range(5):
    register(ours, Path({str(artifact)!r}))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
    ]
    for child in children:
        assert child.stdout and child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sorted(model.version for model in registry.list("faq")) == list(range(1, 16))
    assert all((model.folder / "README.md").read_text().count(f"# {model.id}\n") for model in registry.list())


def test_a_name_means_production_else_the_newest_in_use(registry: Registry, artifact: Path) -> None:
    for _ in range(3):
        register(registry, artifact)
    assert registry.find("faq").id == "faq@3"
    registry.set_stage("faq@3", Stage.ARCHIVED)
    assert registry.find("faq").id == "faq@2"
    registry.set_stage("faq@1", Stage.PRODUCTION)
    assert registry.find("faq").id == "faq@1"
    assert registry.find("faq@3").stage is Stage.ARCHIVED


def test_a_name_has_one_production_version(registry: Registry, artifact: Path) -> None:
    for name in ("faq", "faq", "legal"):
        register(registry, artifact, name)
    registry.set_stage("legal@1", Stage.PRODUCTION)
    registry.set_stage("faq@1", Stage.PRODUCTION)
    assert registry.set_stage("faq@2", Stage.PRODUCTION).stage is Stage.PRODUCTION
    stages = {model.id: model.stage for model in registry.list()}
    assert stages == {"faq@1": Stage.CANDIDATE, "faq@2": Stage.PRODUCTION, "legal@1": Stage.PRODUCTION}
    assert registry.set_stage("faq@2", Stage.PRODUCTION).stage is Stage.PRODUCTION


@pytest.mark.parametrize("name", ["fag", "faq@9", "faq@", "faq@one", "faq@-1", f"faq@{10**30}"])
def test_what_is_not_registered_is_told_with_what_is_near(registry: Registry, artifact: Path, name: str) -> None:
    register(registry, artifact)
    with pytest.raises(NotFoundError) as caught:
        registry.find(name)
    assert repr(name) in caught.value.what and "faq" in caught.value.why and "pumice models list" in caught.value.fix


def test_a_name_whose_versions_are_all_archived_says_so(registry: Registry, artifact: Path) -> None:
    registry.set_stage(register(registry, artifact).id, Stage.ARCHIVED)
    with pytest.raises(NotFoundError) as caught:
        registry.find("faq")
    assert "faq@1 (archived)" in caught.value.why
    assert registry.has("faq")


def test_has_knows_registered_names_alone(registry: Registry, artifact: Path) -> None:
    register(registry, artifact)
    assert registry.has("faq") and registry.has("faq@1") and registry.has("faq@7")
    assert not registry.has("faq2") and not registry.has("org/faq")


def test_exports_are_kept_by_format(registry: Registry, artifact: Path) -> None:
    register(registry, artifact)
    registry.record_export("faq@1", "gguf-f16", {"path": "a.gguf", "max_difference": 0.5})
    registry.record_export("faq@1", "safetensors", {"path": "b"})
    model = registry.record_export("faq", "gguf-f16", {"path": "c.gguf", "max_difference": 0.25})
    assert model.exports == {"gguf-f16": {"path": "c.gguf", "max_difference": 0.25}, "safetensors": {"path": "b"}}


def test_another_base_is_refused_by_its_hash(registry: Registry, artifact: Path) -> None:
    model = register(registry, artifact)
    registry.check_base(model, BASE)
    other = Base(**{**vars(BASE), "sha256": "12" * 32})
    with pytest.raises(InputError, match="faq@1 belongs to another base") as caught:
        registry.check_base(model, other)
    assert BASE.sha256 in caught.value.why and other.sha256 in caught.value.why


def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(registry: Registry, artifact: Path) -> None:
    first, second = register(registry, artifact), register(registry, artifact)
    assert registry.delete(second.id) == second
    assert registry.list() == (first,) and not second.folder.exists() and first.folder.exists()
    assert register(registry, artifact).id == "faq@3"
    for id in ("faq@3", "faq@1"):
        registry.delete(id)
    assert register(registry, artifact).id == "faq@4"
    with pytest.raises(NotFoundError):
        registry.delete("faq@2")


def test_what_is_relied_on_is_not_deleted(registry: Registry, artifact: Path) -> None:
    model = register(registry, artifact)
    with pytest.raises(InputError, match="'faq' is a name, not a version") as bare:
        registry.delete("faq")
    assert bare.value.fix == "Name the version: faq@1"
    over = replace(BASE, source="model:faq@1")
    registry.register(RECIPE.model_copy(update={"name": "more"}), artifact, over, "ef" * 32, None, None)
    with pytest.raises(ConflictError, match="faq@1 is the base of more@1"):
        registry.delete(model.id)
    registry.delete("more@1")
    registry.set_stage(model.id, Stage.PRODUCTION)
    with pytest.raises(ConflictError, match="is in production"):
        registry.delete(model.id)
    registry.set_stage(model.id, Stage.ARCHIVED)
    assert registry.delete(model.id).id == "faq@1" and model.folder.parent.exists()
