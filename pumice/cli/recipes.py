"""Recipes: methods, import, sweep, and curves of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.shared import Json, Name, Setting, Source, find_job, open_queue, open_registry, overrides_of, recipe_of

app = typer.Typer()
recipe_app = typer.Typer(help="Recipes of other trainers: import.", no_args_is_help=True)


@app.command()
def methods(as_json: Json = False) -> None:
    """Every way to train: what it reads, what changes, what answers with it, memory, and the paper."""
    from pumice import show
    from pumice.train import sizes
    from pumice.train.methods import METHODS, Objective, Weights

    rows = []
    for name, method in METHODS.items():
        engines = sorted(method.servable_by) if issubclass(method, Weights) else []
        served = "transformers" if method.classifier else ", ".join(engines) or "as its weights"
        factor = sizes.factor(method)
        kinds = ", ".join(sorted(method.kinds))
        rows.append((name, kinds, method.trains, served, f"{factor:.1f}", method.paper))
    columns = ["method", "reads", "trains", "answers through", "memory", "paper"]
    if as_json:
        show.document([dict(zip(columns, row, strict=True)) for row in rows])
        return
    show.table("", columns, [(*cells, _without_titles(paper)) for *cells, paper in rows])
    names = [name for name, method in METHODS.items() if issubclass(method, Objective)]
    show.say(f"{', '.join(names)} name the weights that they train: `weights: lora` in their table is the default.")
    show.say(sizes.FACTOR_MEANS)


def _without_titles(papers: str) -> str:
    """`Author 2021, Title, arXiv:1` as `Author 2021, arXiv:1`: a terminal is narrow."""
    parts = [paper.split(", ") for paper in papers.split("; ")]
    return "; ".join(f"{first}, {last}" for first, *_, last in parts)


@recipe_app.command("import")
def recipe_import(
    file: Annotated[Path, typer.Argument(help="A YAML file of LLaMA-Factory or Axolotl.")],
    out: Annotated[Path | None, typer.Option(help="Write the recipe here; by default it is printed.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a recipe of LLaMA-Factory or Axolotl into one of Pumice, and list what it left out."""
    from pumice import show
    from pumice.errors import ConflictError
    from pumice.train.foreign import import_recipe
    from pumice.train.recipe import recipe_text, write_recipe

    made = import_recipe(file)
    if out and out.exists():
        raise ConflictError(f"{out} exists already, and an import overwrites nothing.", fix="Name another with --out.")
    if out:
        write_recipe(made.recipe, out)
    if as_json:
        values = made.recipe.model_dump(mode="json", exclude_none=True)
        show.document({"recipe": values, "left_out": dict(made.left_out), "notes": list(made.notes)})
    elif not out:
        typer.echo(recipe_text(made.recipe), nl=False)
    show.say(f"{made.trainer}: {len(made.left_out)} of its keys were left out.")
    for key, why in made.left_out.items():
        show.say(f"   {key}: {why}.")
    for note in made.notes:
        show.say(f"Look at this: {note}")
    if out:
        show.say(f"Wrote {out}. Try it: pumice train {out} --dry-run")


@app.command()
def sweep(
    source: Source,
    over: Annotated[
        list[str], typer.Option(help="A key and its values: lora.r=8,16,32, or a range: learning_rate=1e-4..1e-2.")
    ],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Draw so many at random; by default the whole grid is run.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Begin no trial after so many.")] = None,
    name: Name = None,
    settings: Setting = None,
    as_json: Json = False,
) -> None:
    """Run a recipe with other values again and again; the best by its score on held-out rows."""
    from pumice import show
    from pumice import sweep as sweeps
    from pumice.cli.shared import watch_job
    from pumice.records import Job
    from pumice.train.recipe import Recipe

    recipe = recipe_of(source, overrides_of(name, None, settings))
    drawn = sweeps.plan(sweeps.parse(over), trials, recipe.seed)
    queue, home = open_queue()
    registry, _ = open_registry()
    show.say(f"{len(drawn)} trials.")

    def run(varied: Recipe) -> Job:
        settings = drawn[len(results)]
        show.say(f"\nTrial {len(results) + 1} of {len(drawn)}: {' '.join(f'{k}={v}' for k, v in settings.items())}")
        return watch_job(queue.submit("run", varied.model_dump(mode="json")), home)

    results: list[sweeps.Result] = []
    for result in sweeps.sweep(recipe, drawn, minutes, run, registry.find, home):
        results.append(result)
    winner = sweeps.best(results)
    if as_json:
        shown = [each.to_json() for each in results]
        show.document({"trials": shown, "best": winner.model if winner else None})
    show.say()
    order = sorted(results, key=lambda each: -each.score)
    values = [(*each.settings.values(), each.model or str(each.job.error), f"{each.score:.3f}") for each in order]
    label = next((each.name for each in results if each.name), "score")
    show.table("", [*(drawn[0] if drawn else ()), "model", label], values, numbers=1)
    if len(results) < len(drawn):
        show.say(f"{len(drawn) - len(results)} of {len(drawn)} trials were not begun.")
    if winner is None:
        show.say("No trial ended with a model.")
        raise typer.Exit(1)
    show.say(f"The best is {winner.model}. Trust it: pumice models stage {winner.model} production")


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(help="Jobs, or registered models: their curves go into one picture.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the curves: FILE.svg, FILE.png or FILE.pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Show how jobs went: loss from first to last step, the comparison, and the curves as a picture."""
    from pumice import show
    from pumice.evaluate import report as reports
    from pumice.plot import curves, told

    queue, _ = open_queue()
    registry, _ = open_registry()
    jobs = {name: find_job(name, queue, registry) for name in names}
    events = {name: queue.read_events(job.id)[0] for name, job in jobs.items()}
    found = {}
    for name, job in jobs.items():
        steps = list(told(events[name]).values())
        made = registry.find(job.model).report if job.model else None
        ends = {"first": steps[0], "last": steps[-1]} if steps else {"first": None, "last": None}
        facts = {"job": job.id, "state": job.state, "model": job.model, "steps": len(steps)}
        found[name] = {**facts, **ends, "report": reports.to_json(made) if made else None}
        if as_json:
            continue
        show.say(f"{name}: job {job.id}, {job.state}, {job.model or 'no model'}")
        for key in steps[-1] if steps else ():
            # A batch of answers that are all wanted tells nothing of unwanted ones.
            first = next(step[key] for step in steps if key in step)
            show.say(f"   {key}: {first:.3f} -> {steps[-1][key]:.3f} in {len(steps)} steps")
        if made:
            show.comparison(made)
    if plot:
        show.say(f"Wrote {curves(events, plot)}")
    if as_json:
        show.document(found)
