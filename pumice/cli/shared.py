"""What the commands share: options that several take, the opened rooms, and a job that is followed."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pumice import config

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pumice.api.identity import Identity
    from pumice.jobs.queue import Queue
    from pumice.records import Job
    from pumice.registry.models import Registry
    from pumice.registry.start import Start
    from pumice.train.recipe import Recipe

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Source = Annotated[
    str,
    typer.Argument(
        help="Data (JSONL, JSON, CSV, Parquet, TXT, a document or a folder of them) or a recipe (YAML), here or in s3://."
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Name to register under; by default that of the data file.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="Any recipe key: --set epochs=3 --set lora.r=8.")]
Yes = Annotated[bool, typer.Option("--yes", help="Answer yes to the question that pretrain asks.")]
BaseModel = Annotated[str | None, typer.Option("--model", help="Base model, or a registered name@version.")]


def _records(home: config.Home) -> Engine:
    """Open until the process ends: a connection that is left to the garbage collector warns."""
    from pumice.store.tables import open_database

    database = open_database(home.database)
    atexit.register(database.dispose)
    return database


def open_identity() -> Identity:
    from pumice.api.identity import Identity

    home = config.read_environment().home
    return Identity(_records(home), home)


def open_registry() -> tuple[Registry, config.Home]:
    from pumice.registry.models import Registry

    home = config.read_environment().home
    return Registry(_records(home), home), home


def open_queue() -> tuple[Queue, config.Home]:
    from pumice.jobs.queue import Queue

    home = config.read_environment().home
    return Queue(_records(home), home), home


def find_start(model: str | None, home: config.Home) -> Start:
    from pumice.bases.resolve import DEFAULT
    from pumice.registry.start import starting_point

    registry, _ = open_registry()
    return starting_point(model or DEFAULT, None, registry, home)


def overrides_of(name: str | None, model: str | None, settings: list[str] | None) -> dict[str, str]:
    named = {"name": name, "model": model}
    given = {key: value for key, value in named.items() if value is not None}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {setting}: write KEY=VALUE, as in --set epochs=3.")
        given[key] = value
    return given


def recipe_of(source: str, overrides: Mapping[str, str]) -> Recipe:
    from pumice.store.s3 import Objects, is_uri
    from pumice.train.recipe import Recipe, change, read_recipe

    if source.endswith((".yaml", ".yml")):
        file = Objects(config.read_environment().home.s3).locate(source)
        recipe = read_recipe(file, source if is_uri(source) else None)
    else:
        recipe = Recipe.from_data(source)
    return change(recipe, overrides)


def run_job(
    task: Literal["run", "train"], source: str, overrides: Mapping[str, str], as_json: bool, yes: bool = False
) -> str:
    from pumice.cli.probe import ask_first, check_answerable
    from pumice.data.checks import load
    from pumice.data.kept import kept_in
    from pumice.store.s3 import Objects
    from pumice.train.scaling import FILE

    recipe = recipe_of(source, overrides)
    queue, home = open_queue()
    # Read here too: a mistake in the data is told at once, and leaves no job behind.
    for word in filter(None, (recipe.data, recipe.validation)):
        load(Objects(home.s3).locate(word), word, kept_in(home))
    if recipe.method != "pretrain":
        return follow(queue.submit(task, recipe.model_dump(mode="json")), home, as_json)
    check_answerable(yes)
    foretold = ask_first(recipe, yes, home)
    job = queue.submit(task, recipe.model_dump(mode="json"))
    shutil.copy(foretold / FILE, queue.folder(job.id) / FILE)
    return follow(job, home, as_json)


def follow(job: Job, home: config.Home, as_json: bool) -> str:
    """Run the job in the foreground and print its story; the registered `name@version`, "" where it makes none."""
    from pumice import show

    ended = watched(job, home)
    if as_json:
        registry, _ = open_registry()
        report = show.model_document(registry.find(ended.model))["report"] if ended.model else None
        show.document({"model": ended.model, "job": job.id, "report": report})
    return ended.model or ""


def watched(job: Job, home: config.Home) -> Job:
    """The job, run in the foreground; where it does not succeed the program ends with what to do about it."""
    from pumice import show
    from pumice.records import JobState

    ended = watch_job(job, home)
    if ended.state is JobState.SUCCEEDED:
        return ended
    if ended.state is JobState.STOPPED:
        show.say(f"Stopped. Go on with it: pumice jobs resume {job.id}")
        raise typer.Exit(130)
    if ended.state is JobState.INTERRUPTED:
        show.say(f"{ended.error} Go on with it: pumice jobs resume {job.id}")
    raise typer.Exit(1)


def watch_job(job: Job, home: config.Home) -> Job:
    """Run the job in the foreground and print its story; the job in its last state."""
    from pumice import show
    from pumice.foreground import watch
    from pumice.jobs.launch import Here

    queue, _ = open_queue()
    story = show.Story()
    show.say(f"Job {job.id}")
    ended = watch(job, queue, Here(queue), story.tell)
    story.end_bar()
    return ended


def find_job(name: str, queue: Queue, registry: Registry) -> Job:
    """A job by its id, or the one that made a registered version."""
    from pumice.errors import NotFoundError

    if not registry.has(name):
        return queue.get(name)
    model = registry.find(name)
    if model.job is None:
        raise NotFoundError(
            f"{model.id} was made elsewhere: there is no job of it.", fix="See the jobs: pumice jobs list"
        )
    return queue.get(model.job)


def dry_run_of(source: str, overrides: Mapping[str, str], as_json: bool) -> None:
    """What `train` would do: the filled-in recipe with its reasons, memory and time."""
    from pumice import show
    from pumice.plan import check_machine, gather, resolve, start_of
    from pumice.train import sizes
    from pumice.train.switches import choose

    recipe = recipe_of(source, overrides)
    check_machine(recipe)
    registry, home = open_registry()
    home.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.cache) as folder:
        base = start_of(recipe, registry, home, Path(folder) / "base").base
        material = gather(recipe, base, home)
    resolved, reasons = resolve(recipe, base, material)
    lengths = material.rows.tokens.sizes + recipe.knobs.unseen
    on_gpu = bool(sizes.machine().gpus)
    estimate = sizes.estimate(resolved, base, int(lengths.sum()), int(lengths.max()), on_gpu)
    chosen = choose(resolved, on_gpu, estimate.gradient_checkpointing).each()
    values = resolved.model_dump(mode="json", exclude_none=True)
    if as_json:
        told = [vars(switch) for switch in chosen]
        show.document({"recipe": values, "reasons": reasons, "estimate": vars(estimate), "switches": told})
    else:
        show.dry_run(values, reasons, estimate, chosen)
