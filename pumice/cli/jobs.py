"""Jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from pumice.cli.shared import Json, open_queue
from pumice.cli.shared import follow as follow_job

app = typer.Typer(help="Jobs: list, show, logs, resume, stop.", no_args_is_help=True)


@app.command("list")
def jobs_list(as_json: Json = False) -> None:
    """Every job, the newest first."""
    from pumice import show

    jobs = open_queue()[0].list()
    if as_json:
        show.document([show.job_document(job) for job in jobs])
    else:
        show.jobs(jobs)


@app.command("show")
def jobs_show(job: str, as_json: Json = False) -> None:
    """One job: state, recipe, model or error."""
    from pumice import show

    found = open_queue()[0].get(job)
    if as_json:
        show.document(show.job_document(found))
    else:
        show.job(found)


@app.command("logs")
def jobs_logs(
    job: str, follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False
) -> None:
    """What a job said so far."""
    from pumice import show

    queue, _ = open_queue()
    found = queue.get(job)
    story = show.Story()
    events = queue.follow(found.id) if follow else iter(queue.read_events(found.id)[0])
    for event in events:
        story.tell(event)
    story.end_bar()


@app.command("resume")
def jobs_resume(job: str, as_json: Json = False) -> None:
    """Go on with a job that was stopped, killed or failed, from its last checkpoint."""
    queue, home = open_queue()
    follow_job(queue.resume(job), home, as_json)


@app.command("stop")
def jobs_stop(job: str) -> None:
    """Ask a running job to write a checkpoint and end."""
    from pumice import show

    stopped = open_queue()[0].stop(job)
    show.say(f"{stopped.id} was asked to stop. Go on with it: pumice jobs resume {stopped.id}")
