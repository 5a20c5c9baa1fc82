"""What a person sees in the terminal. Knows records and events, never how they came about.

Everything goes to stderr but answers and JSON, so that a script can read stdout.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from pumice.bases.catalogue import OTHERS
from pumice.data.checks import Check
from pumice.doctor import Examination
from pumice.errors import PumiceError
from pumice.evaluate import report as reports
from pumice.evaluate.compare import deciding
from pumice.records import Confusion, Event, Job, Key, Model, Report
from pumice.train.instances import REACHED, READ_ON
from pumice.train.scaling import Probe
from pumice.train.sizes import Ability, Estimate
from pumice.train.switches import Switch

console = Console(stderr=True, highlight=False)

MOST_CLASSES = 8
"""Of more, a table of all against all is too wide for a terminal."""
MOST_MISTAKES = 10

STAGES = {
    "check": "Check the data",
    "ask": "Ask the teacher",
    "probe": "Train at 1 % of the tokens",
    "train": "Train",
    "evaluate": "Evaluate base against tuned",
    "register": "Register",
}


def say(line: str = "") -> None:
    """One plain line."""
    console.print(escape(line), soft_wrap=True)


def document(value: Any) -> None:
    """The one JSON document of a `--json` command, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def failure(error: PumiceError) -> None:
    """What happened, why, and what to do next."""
    console.print(f"[bold red]error:[/] {escape(error.what)}", soft_wrap=True)
    for line in (error.why, error.fix):
        if line:
            console.print(escape(line), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> None:
    """A table whose last `numbers` columns are set right."""
    grid = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index >= len(columns) - numbers else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(escape(cell) for cell in row))
    console.print(grid)


def clock(seconds: float) -> str:
    """`75` as `1:15`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class Story:
    """Prints a job's events as they come: stages, a progress bar, reasons, the comparison."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.stage = 0
        self.tenth = -1
        self.unseen = ""

    def tell(self, event: Event) -> None:
        """Show one event; kinds that a newer worker may add are left out."""
        tellers = {
            "stage": self.on_stage,
            "note": self.on_note,
            "data": self.on_data,
            "model": self.on_model,
            "step": self.on_step,
            "validation": self.on_validation,
            "score": self.on_score,
            "report": self.on_report,
            "probe": self.on_probe,
            "error": self.on_error,
        }
        if teller := tellers.get(event.kind):
            teller(event.data)

    def on_stage(self, data: Mapping[str, Any]) -> None:
        self.end_bar()
        self.stage += 1
        console.print(f"\n[bold cyan]{self.stage}.[/] [bold]{STAGES[data['name']]}[/]")

    def on_note(self, data: Mapping[str, Any]) -> None:
        say(f"   {data['text']}")

    def on_data(self, data: Mapping[str, Any]) -> None:
        say(f"   {data['rows']:,} rows to train on; {data['questions']:,} questions for the comparison: {data['set']}.")
        if data["note"]:
            say(f"   {data['note']}")
        for key, reason in data["reasons"].items():
            say(f"   {key}: {reason}")

    def on_model(self, data: Mapping[str, Any]) -> None:
        console.print(f"   [bold green]{escape(data['id'])}[/] lies in {escape(data['folder'])}", soft_wrap=True)

    def on_validation(self, data: Mapping[str, Any]) -> None:
        self.unseen = f"(unseen rows {data['validation_loss']:.3f})  "

    def on_step(self, data: Mapping[str, Any]) -> None:
        text = (
            f"step {data['step']}/{data['steps']}  loss {data['loss']:.3f}  {self.unseen}"
            f"{data['tokens_per_second']:.0f} tokens/s  {clock(data['seconds_left'])} left"
        )
        self.move(data["step"], data["steps"], text)

    def on_score(self, data: Mapping[str, Any]) -> None:
        self.move(data["done"], data["total"], f"{data['what']} {data['done']}/{data['total']}")

    def move(self, done: int, total: int, text: str) -> None:
        """Move the bar; where there is no terminal, print a line every tenth instead."""
        if not console.is_terminal:
            if (tenth := done * 10 // total) != self.tenth:
                self.tenth = tenth
                say(f"   {text}")
            return
        if self.progress is None:
            columns = (SpinnerColumn(), BarColumn(bar_width=28), TextColumn("{task.description}"))
            self.progress = Progress(TextColumn("  "), *columns, console=console)
            self.progress.start()
            self.task = self.progress.add_task(text, total=total)
        assert self.task is not None
        self.progress.update(self.task, completed=done, total=total, description=text)

    def end_bar(self) -> None:
        """Leave the bar as it stands and give the terminal back."""
        self.tenth = -1
        if self.progress is not None:
            self.progress.stop()
            self.progress = self.task = None

    def on_report(self, data: Mapping[str, Any]) -> None:
        self.end_bar()
        comparison(reports.from_json(dict(data)))

    def on_probe(self, data: Mapping[str, Any]) -> None:
        self.end_bar()
        probe(Probe.from_json(data))

    def on_error(self, data: Mapping[str, Any]) -> None:
        self.end_bar()
        failure(PumiceError(data["what"], data.get("why", ""), data.get("fix", "")))


def comparison(report: Report) -> None:
    """The table base against tuned, the sentence, and the answers side by side."""
    console.print()
    table("", ["", *reports.columns(report), "difference [95 % interval]"], reports.table(report), numbers=3)
    say(f"   {reports.sentence(report)}")
    if line := reports.answered_by(report):
        say(f"   {line}")
    if report.confusion:
        confusion(report.confusion)
    for sample in report.samples:
        console.print(f"\n   [bold]{escape(sample.question)}[/]")
        rows = (("expected", sample.reference, "dim"), ("base", sample.base, "red"), ("tuned", sample.tuned, "green"))
        for who, text, style in rows:
            if who == "base" and report.confusion:
                continue
            console.print(f"     {who:<9}[{style}]{escape(shorten(text))}[/]")


def confusion(found: Confusion) -> None:
    """Which class was taken for which: the whole table, or of many classes the most frequent mistakes."""
    console.print()
    if len(found.labels) <= MOST_CLASSES:
        rows = [
            (name, *(f"{count:,}" if count else "." for count in counts))
            for name, counts in zip(found.labels, found.counts, strict=True)
        ]
        say("Texts of each class, and what they were named:")
        table("", ["class", *found.labels], rows, numbers=len(rows))
        return
    rows = [(one, other, f"{count:,}") for one, other, count in reports.mistakes(found)[:MOST_MISTAKES]]
    say("What was most often mistaken:")
    table("", ["class", "was named", "texts"], rows, numbers=1)


def probe(found: Probe) -> None:
    """The short runs, what the whole one would reach, and what it would take."""
    console.print()
    rows = [("0", f"{found.untrained:.2f}", reports.short(math.exp(found.untrained)))]
    rows += [(f"{each.tokens:,}", f"{each.loss:.2f}", reports.short(math.exp(each.loss))) for each in found.points]
    table("", ["tokens", "loss on unseen text", "perplexity"], rows, numbers=3)
    if found.warning:
        say(f"   {found.warning}")
    if told := found.forecast:
        low, middle, high = (reports.short(math.exp(loss)) for loss in (told.low, told.loss, told.high))
        say(
            f"   The whole run of {told.tokens:,} tokens would reach a loss of about {told.loss:.2f}, "
            f"from {told.low:.2f} to {told.high:.2f}: a perplexity of {middle}, from {low} to {high}."
        )
        say(f"   That is loss = {told.law}; three points are few, so take it as a guess.")
    else:
        say("   The losses do not fall from run to run, so nothing can be said of the whole one.")
    console.print()
    costs = [
        (each.machine, hours(each.hours), "" if each.dollars is None else f"{each.dollars:,.2f}")
        for each in found.costs
    ]
    table("", ["the whole run on", "hours", "US dollars"], costs, numbers=2)
    say(
        f"   Instances: on demand in us-east-1 as of {READ_ON}, at {REACHED:.0%} of the GPU's peak; "
        "a small model reaches less."
    )


def hours(count: float) -> str:
    """Hours in a few digits."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.2g}" if count >= 0.001 else "below 0.001"


def shorten(text: str, most: int = 96) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def model_document(model: Model) -> dict[str, Any]:
    """A version as `--json` prints it."""
    report = reports.to_json(model.report) if model.report else None
    return {"id": model.id, **vars(model), "report": report}


def models(found: Sequence[Model]) -> None:
    """One line a version."""
    if not found:
        say("No model is registered yet. Make one: pumice quickstart, or pumice run your.jsonl")
        return
    rows = [(each.id, each.stage, each.method, each.base, when(each.created), headline(each)) for each in found]
    table("", ["model", "stage", "method", "base", "made", "score"], rows)


def headline(model: Model) -> str:
    """The verdict of the model's report in a few words."""
    if model.report is None:
        return "not evaluated"
    name = deciding(model.report.differences)
    change = model.report.differences[name]
    return f"{model.report.verdict}: {name} {change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"


def model(found: Model) -> None:
    """Lineage, scores and where it lies."""
    rows = [
        ("model", found.id),
        ("stage", found.stage),
        ("made", f"{when(found.created)} by {f'job {found.job}' if found.job else 'hand'}"),
        ("method", found.method),
        ("base", f"{found.base} ({found.base_source})"),
        ("base sha256", found.base_sha256),
        ("data", f"{found.recipe.get('data', 'unknown: it was imported')}"),
        ("data sha256", found.data_sha256),
        ("folder", str(found.folder)),
        *((f"export {name}", f"{each['path']}") for name, each in found.exports.items()),
    ]
    table("", ["", ""], rows)
    if found.report:
        comparison(found.report)


def exported(result: Mapping[str, Any]) -> None:
    """Where an export lies and how far it differs."""
    say(f"Wrote {result['path']}")
    say(
        f"Log-probabilities of what comes next differ from the model's by {result['mean_difference']:.4f} on average, "
        f"{result['max_difference']:.4f} at most; the first token agrees on {result['agreement']:.0%} of the prompts."
    )


def job_document(job: Job) -> dict[str, Any]:
    """A job as `--json` prints it."""
    return dict(vars(job))


def jobs(found: Sequence[Job]) -> None:
    """One line a job."""
    if not found:
        say("There is no job yet. Start one: pumice run your.jsonl")
        return
    rows = [(each.id, each.task, each.state, when(each.created), each.model or each.error or "") for each in found]
    table("", ["job", "task", "state", "made", "model or error"], [(*row[:4], shorten(row[4])) for row in rows])


def job(found: Job) -> None:
    """State, times, what came of it, and the recipe."""
    times = [(name, when(at)) for name, at in (("started", found.started), ("ended", found.ended)) if at]
    facts = [
        ("job", found.id),
        ("task", found.task),
        ("state", str(found.state)),
        ("created", when(found.created)),
        *times,
    ]
    ends = [(name, text) for name, text in (("model", found.model), ("error", found.error)) if text]
    recipe = [(f"recipe.{key}", str(value)) for key, value in found.spec.items() if value is not None]
    table("", ["", ""], [*facts, *ends, *recipe])


def key_document(key: Key) -> dict[str, Any]:
    """A key as `--json` prints it, without what is kept of its secrets."""
    return {name: value for name, value in vars(key).items() if name not in ("secret_sha256", "signing_secret")}


def keys(found: Sequence[Key]) -> None:
    """One line a key."""
    if not found:
        say("There is no key: on loopback none is asked for. Make one: pumice keys create NAME")
        return
    rows = [
        (
            each.id,
            each.name,
            each.role,
            each.access_key or "",
            when(each.created),
            when(each.revoked) if each.revoked else "",
            "" if each.requests_per_minute is None else f"{each.requests_per_minute:,}",
            "" if each.tokens_per_day is None else f"{each.tokens_per_day:,}",
        )
        for each in found
    ]
    table("", ["key", "name", "role", "access key", "made", "revoked", "a minute", "tokens a day"], rows, numbers=2)


def when(moment: datetime) -> str:
    """Local time to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def size(parameters: int) -> str:
    """`134515008` as `135M`."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 999_500_000 else f"{parameters / 1e6:.0f}M"


def mark(possible: bool) -> str:
    """A cell of a table of abilities."""
    return "yes" if possible else "-"


def catalogue(rows: Sequence[Ability]) -> None:
    """One line a known base."""
    columns = ["model", "size", "window", "licence", "template", "reads", "full", "lora", "qlora", "serve"]
    cells = [
        (
            row.entry.id,
            size(row.entry.parameters),
            f"{row.entry.window:,}",
            row.entry.licence,
            row.entry.template,
            row.entry.modality,
            *(mark(row.train[way]) for way in ("full", "lora", "qlora")),
            mark(row.serve),
        )
        for row in rows
    ]
    table("", columns, cells)
    say("The last four columns: what this machine can train, and serve.")
    say("Any other Hugging Face id, folder of Hugging Face files or GGUF file works too.")
    say("Known, and not for this: " + ", ".join(f"{each.id} ({each.modality})" for each in OTHERS) + ".")


def doctor(found: Examination) -> None:
    """The machine, what it can do, and what to mend."""
    machine = found.machine
    gigabytes = f"{machine.memory / 1e9:.1f} GB, {machine.free / 1e9:.1f} GB free"
    gpus = [("gpu", f"{gpu.name}, {gpu.memory / 1e9:.1f} GB, {gpu.free / 1e9:.1f} GB free") for gpu in machine.gpus]
    able = [(f"largest for {way}", model) for way, model in found.largest.items()]
    states = [(finding.what, finding.state) for finding in found.findings]
    table(
        "",
        ["", ""],
        [("cores", str(machine.cores)), ("memory", gigabytes), *(gpus or [("gpu", "none")]), *able, *states],
    )
    for finding in found.findings:
        if finding.fix:
            console.print(f"[bold yellow]{finding.what}:[/] {escape(finding.fix)}", soft_wrap=True)
    if found.ok:
        console.print("[bold green]Everything that a run needs is here.[/]")


def check(found: Check) -> None:
    """Every error with its place, then what is worth knowing."""
    for finding in found.findings:
        say(str(finding))
    if found.errors > len(found.findings):
        say(f"... and {found.errors - len(found.findings):,} more.")
    for note in (*found.notes, *found.warnings):
        say(note)
    if found.lengths:
        lengths(found)
    if found.sample:
        sample(found)
    console.print()
    if found.ok:
        console.print(f"[bold green]{escape(found.path)} is fine:[/] {found.rows:,} rows of {found.kind} data.")
    else:
        noun = "error" if found.errors == 1 else "errors"
        console.print(
            f"[bold red]{escape(found.path)} has {found.errors:,} {noun}[/]; it cannot be trained on as it is."
        )


def sample(found: Check) -> None:
    """One row as the model reads it, of a pair both conversations."""
    green = "; [bold green]what is trained[/] is green" if any(trained for _, trained in found.sample) else ""
    console.print(f"\nThe first row as the model reads it{green}:")
    for tokens in filter(None, (found.sample, found.sample_rejected)):
        if tokens is found.sample_rejected:
            console.print("\nThe same with the rejected answer:")
        console.print(
            "".join(f"[bold green]{escape(text)}[/]" if trained else escape(text) for text, trained in tokens)
        )
    if isinstance(found.sample_label, bool):
        say(f"Its answer is {'wanted' if found.sample_label else 'not wanted'}.")
    elif found.sample_label is not None:
        say(f"Its class: {found.sample_label}")


def lengths(found: Check) -> None:
    """The histogram of row lengths against the window, and the counts of tokens."""
    measured = found.lengths
    assert measured is not None
    most = max((bar.rows for bar in measured.histogram), default=0)
    rows = [
        (
            f"{bar.over + 1:,} to {bar.upto:,}",
            f"{bar.rows:,}",
            "█" * max(1, round(40 * bar.rows / most)) if bar.rows else "",
        )
        for bar in measured.histogram
    ]
    console.print()
    table("Tokens a row", ["", "rows", ""], rows)
    about = "" if measured.exact else f"about, from {measured.measured:,} rows: "
    # Of labelled texts only the class is learned, and of prompts nothing.
    read = f"{measured.trained:,} of {measured.total:,} tokens are trained on"
    say(f"{about}{read if measured.trained else f'{measured.total:,} tokens are read'}.")
    say(f"The longest row has {measured.longest:,} tokens; {measured.limit:,} fit. {measured.note}")


def dry_run(
    recipe: Mapping[str, Any], reasons: Mapping[str, str], estimate: Estimate, switches: Sequence[Switch]
) -> None:
    """What `train` would do."""
    rows = [(key, str(value), reasons.get(key, "")) for key, value in recipe.items() if value is not None]
    table("", ["key", "value", "why"], [(key, value, reason.partition("; ")[2]) for key, value, reason in rows])
    ways = [(switch.name, "on" if switch.on else "off", switch.why) for switch in switches]
    table("How a step is computed on this machine", ["", "", "why"], ways)
    say(f"It would take {estimate}")


def next_steps(model: str) -> None:
    """What to try after the quickstart, as commands that can be copied."""
    command = "pumice" if shutil.which("pumice") else ".venv/bin/pumice"
    say("\nTry next:")
    say(f'   {command} chat {model} --prompt "Which file of Pumice should I read first?"')
    say(f"   {command} serve             # OpenAI API on http://localhost:8080/v1, model={model!r}")
    say(f'   {command} run your.jsonl    # rows like {{"prompt": …, "completion": …}}')
