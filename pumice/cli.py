"""The command line: one function a command. Reads the environment, calls the rooms, prints; decides nothing itself.

The one place besides `jobs.worker` that imports late, so that `pumice --help` answers at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pumice import __version__, config
from pumice.errors import PumiceError
from pumice.records import Role, Stage

if TYPE_CHECKING:
    from pumice.api.identity import Identity
    from pumice.jobs.queue import Queue
    from pumice.records import Job
    from pumice.registry.models import Registry
    from pumice.registry.start import Start
    from pumice.train.recipe import Recipe

app = typer.Typer(
    name="pumice",
    help="Fine-tune, evaluate and serve your own language model on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="Registered models: list, show, export, stage, catalogue.", no_args_is_help=True)
jobs_app = typer.Typer(help="Jobs: list, show, logs, resume, stop.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")

Format = Literal["safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Source = Annotated[Path, typer.Argument(help="A data file (JSONL, JSON, CSV, Parquet, TXT) or a recipe (YAML).")]
Name = Annotated[str | None, typer.Option("--name", help="Name to register under; by default that of the data file.")]
BaseModel = Annotated[str | None, typer.Option("--model", help="Base model, or a registered name@version.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="Any recipe key: --set epochs=3 --set lora.r=8.")]


def main() -> None:
    """The `pumice` command. Exit code 0: fine; 1: the user's input is at fault; 2: the command line is."""
    try:
        app()
    except PumiceError as error:
        from pumice import show

        show.failure(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"pumice {__version__}")
        raise typer.Exit


@app.callback()
def pumice(
    show_version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Fine-tune, evaluate and serve your own language model on this machine."""


# The loop: check, run, train, evaluate


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="The data file.")],
    model: BaseModel = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens a row may have; by default the model's window.")
    ] = None,
    too_long: Annotated[
        Literal["error", "drop", "truncate", "split"] | None,
        typer.Option(help="For longer rows; by default split for text, else error."),
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="A second file, checked for leakage.")] = None,
    as_json: Json = False,
) -> None:
    """Check a data file before anything is paid for: errors, lengths, duplicates, a rendered sample."""
    from pumice import show
    from pumice.data import checks
    from pumice.data.render import Renderer

    home = config.read_environment().home
    start = _start(model, home)
    found = checks.check(data, Renderer(start.base.folder), max_length, too_long, validation)
    if as_json:
        show.document(found.to_json())
    else:
        show.check(found)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def run(
    source: Source, name: Name = None, model: BaseModel = None, settings: Setting = None, as_json: Json = False
) -> None:
    """Check, train, evaluate and register: the whole way from a file to a model that answers."""
    _run("run", source, _overrides(name, model, settings), as_json)


@app.command()
def train(
    source: Source,
    name: Name = None,
    model: BaseModel = None,
    settings: Setting = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen, and what it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Check, train and register, without the evaluation."""
    if dry_run:
        _dry_run(source, _overrides(name, model, settings), as_json)
    else:
        _run("train", source, _overrides(name, model, settings), as_json)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A registered model: name or name@version.")],
    data: Annotated[
        Path | None, typer.Option(help="Questions with answers; by default the model's own held-out set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a registered model with its base on the same questions."""
    from pumice import show
    from pumice.evaluate import report as reports
    from pumice.registry.again import compare

    registry, home = _registry()
    story = show.Story()
    report = asyncio.run(compare(model, data, registry, home, story.tell))
    story.end_bar()
    if as_json:
        show.document({"model": registry.find(model).id, "report": reports.to_json(report)})
    else:
        show.comparison(report)


@app.command()
def quickstart(as_json: Json = False) -> None:
    """Fine-tune the default model on Pumice's own handbook, prove it, and say what to try next."""
    from pumice import handbook, show

    show.say("Pumice quickstart: a 135M model learns the handbook of Pumice itself, on this machine, offline.")
    model = _run("run", handbook.RECIPE, {}, as_json)
    show.next_steps(model)


# Models


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Every registered version."""
    from pumice import show

    registry, _ = _registry()
    models = registry.list()
    if as_json:
        show.document([show.model_document(model) for model in models])
    else:
        show.models(models)


@models_app.command("show")
def models_show(model: str, as_json: Json = False) -> None:
    """Lineage, scores and card of one version."""
    from pumice import show

    registry, _ = _registry()
    found = registry.find(model)
    if as_json:
        show.document(show.model_document(found))
    else:
        show.model(found)


@models_app.command("stage")
def models_stage(model: str, stage: Stage) -> None:
    """Say what a version is trusted with."""
    from pumice import show

    show.say(f"{_registry()[0].set_stage(model, stage).id} is {stage} now.")


@models_app.command("export")
def models_export(
    model: str,
    format: Annotated[Format, typer.Option(help="What to write.")] = "gguf-q8_0",
    out: Annotated[Path | None, typer.Option(help="Where to; by default a name made from model and format.")] = None,
    as_json: Json = False,
) -> None:
    """Write a model as merged safetensors or GGUF, and measure how far the export differs from it."""
    from pumice import show
    from pumice.engine.pool import Pool
    from pumice.registry.export import export
    from pumice.registry.start import base_of

    registry, home = _registry()
    found = registry.find(model)
    suffix = "" if format == "safetensors" else ".gguf"
    target = out or Path(f"{found.name}-{found.version}-{format.removeprefix('gguf-')}{suffix}")

    async def work() -> Any:
        async with Pool(home.cache) as pool:
            return await export(found, base_of(found, registry, home), format, target, pool, registry)

    result = asyncio.run(work())
    if as_json:
        show.document(result)
    else:
        show.exported(result)


@models_app.command("catalogue")
def models_catalogue(as_json: Json = False) -> None:
    """Known base models, and what this machine can do with each. Any other Hugging Face id works too."""
    from pumice import show
    from pumice.bases.catalogue import CATALOGUE
    from pumice.train import sizes

    rows = [sizes.abilities(entry, sizes.machine()) for entry in CATALOGUE]
    if as_json:
        show.document([row.to_json() for row in rows])
    else:
        show.catalogue(rows)


# Jobs


@jobs_app.command("list")
def jobs_list(as_json: Json = False) -> None:
    """Every job, the newest first."""
    from pumice import show

    jobs = _queue()[0].list()
    if as_json:
        show.document([show.job_document(job) for job in jobs])
    else:
        show.jobs(jobs)


@jobs_app.command("show")
def jobs_show(job: str, as_json: Json = False) -> None:
    """One job: state, recipe, model or error."""
    from pumice import show

    found = _queue()[0].get(job)
    if as_json:
        show.document(show.job_document(found))
    else:
        show.job(found)


@jobs_app.command("logs")
def jobs_logs(
    job: str, follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False
) -> None:
    """What a job said so far."""
    from pumice import show

    queue, _ = _queue()
    found = queue.get(job)
    story = show.Story()
    events = queue.follow(found.id) if follow else iter(queue.read_events(found.id)[0])
    for event in events:
        story.tell(event)
    story.end_bar()


@jobs_app.command("resume")
def jobs_resume(job: str, as_json: Json = False) -> None:
    """Go on with a job that was stopped, killed or failed, from its last checkpoint."""
    queue, home = _queue()
    _follow(queue.resume(job), home, as_json)


@jobs_app.command("stop")
def jobs_stop(job: str) -> None:
    """Ask a running job to write a checkpoint and end."""
    from pumice import show

    stopped = _queue()[0].stop(job)
    show.say(f"{stopped.id} was asked to stop. Go on with it: pumice jobs resume {stopped.id}")


# Use: chat, serve, keys, doctor


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A registered model, or a base.")],
    prompt: Annotated[str | None, typer.Option(help="Ask this, print the answer alone, and end.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1)] = 512,
) -> None:
    """Talk to a model in the terminal."""
    from pumice.engine.contract import Sampling
    from pumice.talk import Conversation, talk

    registry, home = _registry()
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    asyncio.run(talk(Conversation(model, registry, home, system, sampling), prompt))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; elsewhere than loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Answer the OpenAI API for every registered model."""
    from pumice.api.serve import serve as serve_api

    settings = config.read_environment()
    serve_api(settings.home, host or settings.host, settings.port if port is None else port)


@keys_app.command("create")
def keys_create(
    name: str, role: Annotated[Role, typer.Option(help="What it may do.")] = Role.INVOKE, as_json: Json = False
) -> None:
    """Make an API key; its secret is shown once."""
    from pumice import show

    key, secret = _identity().create(name, role)
    if as_json:
        show.document({"id": key.id, "name": key.name, "role": key.role, "secret": secret})
    else:
        typer.echo(f"OPENAI_API_KEY={secret}")
        show.say(f"Key {key.id} ({key.name}, {key.role}). The secret is not kept: copy it now.")


@keys_app.command("list")
def keys_list(as_json: Json = False) -> None:
    """Every key, without its secret."""
    from pumice import show

    keys = _identity().list()
    if as_json:
        show.document([show.key_document(key) for key in keys])
    else:
        show.keys(keys)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="Its id or name.")]) -> None:
    """Make a key useless from now on."""
    from pumice import show

    revoked = _identity().revoke(key)
    show.say(f"Key {revoked.id} ({revoked.name}) is revoked.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has, what it can train and serve, and what is wrong with the set-up."""
    from pumice import show
    from pumice.doctor import examine

    found = examine(config.read_environment().home)
    if as_json:
        show.document(found.to_json())
    else:
        show.doctor(found)
    if not found.ok:
        raise typer.Exit(1)


# What the commands share


def _identity() -> Identity:
    from pumice.api.identity import Identity
    from pumice.store.tables import open_database

    return Identity(open_database(config.read_environment().home.database))


def _registry() -> tuple[Registry, config.Home]:
    from pumice.registry.models import Registry
    from pumice.store.tables import open_database

    home = config.read_environment().home
    return Registry(open_database(home.database), home), home


def _queue() -> tuple[Queue, config.Home]:
    from pumice.jobs.queue import Queue
    from pumice.store.tables import open_database

    home = config.read_environment().home
    return Queue(open_database(home.database), home), home


def _start(model: str | None, home: config.Home) -> Start:
    from pumice.bases.resolve import DEFAULT
    from pumice.registry.start import starting_point

    registry, _ = _registry()
    return starting_point(model or DEFAULT, None, registry, home)


def _overrides(name: str | None, model: str | None, settings: list[str] | None) -> dict[str, str]:
    named = {"name": name, "model": model}
    given = {key: value for key, value in named.items() if value is not None}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {setting}: write KEY=VALUE, as in --set epochs=3.")
        given[key] = value
    return given


def _recipe(source: Path, overrides: Mapping[str, str]) -> Recipe:
    from pumice.train.recipe import Recipe, change, read_recipe

    recipe = read_recipe(source) if source.suffix in (".yaml", ".yml") else Recipe.from_data(source)
    return change(recipe, overrides)


def _run(task: Literal["run", "train"], source: Path, overrides: Mapping[str, str], as_json: bool) -> str:
    from pumice.data.checks import load

    recipe = _recipe(source, overrides)
    # Read here too: a mistake in the data is told at once, and leaves no job behind.
    for path in filter(None, (recipe.data, recipe.validation)):
        load(Path(path))
    queue, home = _queue()
    return _follow(queue.submit(task, recipe.model_dump(mode="json")), home, as_json)


def _follow(job: Job, home: config.Home, as_json: bool) -> str:
    """Run the job in the foreground and print its story; returns the registered `name@version`."""
    from pumice import show
    from pumice.foreground import watch
    from pumice.jobs.launch import Here
    from pumice.records import JobState

    queue, _ = _queue()
    story = show.Story()
    show.say(f"Job {job.id}")
    ended = watch(job, queue, Here(queue), story.tell)
    story.end_bar()
    if ended.state is JobState.SUCCEEDED:
        if as_json:
            registry, _ = _registry()
            report = show.model_document(registry.find(str(ended.model)))["report"]
            show.document({"model": ended.model, "job": job.id, "report": report})
        return str(ended.model)
    if ended.state is JobState.STOPPED:
        show.say(f"Stopped. Go on with it: pumice jobs resume {job.id}")
        raise typer.Exit(130)
    if ended.state is JobState.INTERRUPTED:
        show.say(f"{ended.error} Go on with it: pumice jobs resume {job.id}")
    raise typer.Exit(1)


def _dry_run(source: Path, overrides: Mapping[str, str], as_json: bool) -> None:
    """What `train` would do: the filled-in recipe with its reasons, memory and time."""
    from pumice import show
    from pumice.plan import gather
    from pumice.registry.start import starting_point
    from pumice.train import sizes
    from pumice.train.recipe import resolve_recipe

    recipe = _recipe(source, overrides)
    registry, home = _registry()
    base = starting_point(recipe.model, recipe.start, registry, home).base
    tokens = gather(recipe, base).rows.tokens
    total = sum(len(row.ids) for row in tokens)
    resolved, reasons = resolve_recipe(recipe, base, len(tokens), total)
    on_gpu = bool(sizes.machine().gpus)
    estimate = sizes.estimate(resolved, base, total, max(len(row.ids) for row in tokens), on_gpu)
    values = resolved.model_dump(mode="json", exclude_none=True)
    if as_json:
        show.document({"recipe": values, "reasons": reasons, "estimate": vars(estimate)})
    else:
        show.dry_run(values, reasons, estimate)
