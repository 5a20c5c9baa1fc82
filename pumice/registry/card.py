"""The model card: a README.md as the Hugging Face hub reads it, with lineage and scores. Knows no storage."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from pumice.bases.catalogue import CATALOGUE
from pumice.bases.classifiers import find_labels
from pumice.bases.seq2seq import ARCHITECTURES
from pumice.evaluate import report as reports
from pumice.records import Base, Model
from pumice.train import scratch

HUB = "hub:"
IMPORT = "import:"
"""Source of a whole model that came from elsewhere, when nobody said what it was made from."""
ALONE = (IMPORT, scratch.SOURCE)
"""Sources of whole models that stand on themselves."""


Labels = tuple[str, ...] | None
"""The classes of a classifier, () for one that gives a score; None for a model that writes."""


def card(model: Model, base: Base, files: Path | None = None) -> str:
    """The card of a version that was trained on `base`; `files` is where it lies until it is in its place."""
    labels = find_labels(files or model.folder)
    parts = [
        f"---\n{front_matter(model, base, labels)}---",
        f"# {model.id}",
        opening(model, base, labels),
        "## Scores",
        scores(model),
        "## Use it",
        use(model, base) if labels is None else use_classifier(model, labels),
        "## Where it comes from",
        lineage(model, base),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(model: Model, base: Base, labels: Labels) -> str:
    """What the hub reads."""
    told: dict[str, object] = {} if base.source.startswith(ALONE) else {"base_model": hub_id(base) or base.name}
    told |= {
        "library_name": "peft" if model.adapter else "transformers",
        "pipeline_tag": "text-generation" if labels is None else "text-classification",
        "tags": ["pumice", model.method],
    }
    told |= licence(base)
    out = io.StringIO()
    YAML().dump(told, out)
    return out.getvalue()


def licence(base: Base) -> dict[str, object]:
    """The base's licence in the hub's words, where the catalogue knows it: a tuned model is under it too."""
    known = {entry.id.partition("@")[0]: entry.licence for entry in CATALOGUE}
    name = known.get(hub_id(base) or base.name)
    if name is None:
        return {}
    if " " in name:
        return {"license": "other", "license_name": name.lower().replace(" ", "-")}
    return {"license": name.lower()}


def opening(model: Model, base: Base, labels: Labels) -> str:
    """What it is, and what it is not."""
    made = "fine-tuned with Pumice" if model.recipe else "made elsewhere and imported into Pumice"
    if base.source.startswith(scratch.SOURCE):
        return f"A whole model with {base.parameters:,} weights, trained from random numbers with Pumice."
    if base.source.startswith(IMPORT):
        return f"A whole model, {made}."
    if labels is not None:
        gives = "names classes" if labels else "scores answers"
        return f"A whole model that {gives}, made of [{base.name}](#where-it-comes-from) with Pumice ({model.method})."
    if not model.adapter:
        return f"All weights of [{base.name}](#where-it-comes-from), {made} ({model.method})."
    return (
        f"An adapter ({model.method}) for [{base.name}](#where-it-comes-from), {made}.\n\n"
        f"**It belongs to that base alone**, the one whose weights have sha256 `{base.sha256}`. "
        "On any other weights, a differently quantised copy of the same model included, it means nothing."
    )


def scores(model: Model) -> str:
    """Base against tuned, with 95 % intervals, and what that proves."""
    if model.report is None:
        return "Not evaluated. Compare it with its base: `pumice evaluate " + model.id + " --data questions.jsonl`."
    left, right = reports.columns(model.report)
    lines = [f"| | {left} | {right} | difference [95 % interval] |", "|---|---:|---:|---:|"]
    lines += [f"| {row.name} | {row.base} | {row.tuned} | {row.difference} |" for row in reports.table(model.report)]
    return "\n".join([*lines, "", f"On {model.report.set}. {reports.sentence(model.report)}"])


def use(model: Model, base: Base) -> str:
    """Three ways to ask it something."""
    return f"""With Pumice:

```
pumice chat {model.id}
pumice serve
```

With any OpenAI client, while `pumice serve` runs:

```python
from openai import OpenAI

client = OpenAI(base_url="http://localhost:8080/v1", api_key="none")
answer = client.chat.completions.create(model="{model.id}", messages=[{{"role": "user", "content": "…"}}])
```

Without Pumice, in the folder that `PUMICE_HOME` names:

```python
{snippet(model, base)}
```"""


def use_classifier(model: Model, labels: Labels) -> str:
    """Two ways to ask one that names classes or gives scores."""
    turns = '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
    asked = '"input": "…"' if labels else f'"messages": {turns}'
    text = 'text = "…"'
    if not labels:
        # Nothing stands behind the token that ends the answer, in training and in serving alike.
        text = f"messages = {turns}\ntext = tokenizer.apply_chat_template(messages, tokenize=False).rstrip()"
    last = "print(model.config.id2label[int(logits.argmax())])" if labels else "print(float(logits[0]))"
    tuned = within(model.folder, model.folder.parents[2])
    special = "" if labels else ", add_special_tokens=False"
    return f"""While `pumice serve` runs:

```
curl http://localhost:8080/v1/classify -H 'Content-Type: application/json' -d '{{"model": "{model.id}", {asked}}}'
```

Without Pumice, in the folder that `PUMICE_HOME` names:

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("{tuned}")
tokenizer = AutoTokenizer.from_pretrained("{tuned}")
{text}
with torch.no_grad():
    logits = model(**tokenizer(text{special}, return_tensors="pt")).logits[0]
{last}
```"""


def snippet(model: Model, base: Base) -> str:
    """Plain peft or transformers, with paths that are right in the home folder."""
    home = model.folder.parents[2]
    tuned, under = within(model.folder, home), within(base.folder, home)
    kind = "AutoModelForSeq2SeqLM" if base.architecture in ARCHITECTURES else "AutoModelForCausalLM"
    if not model.adapter:
        return f"""from transformers import {kind}, AutoTokenizer

model = {kind}.from_pretrained("{tuned}")
tokenizer = AutoTokenizer.from_pretrained("{tuned}")"""
    return f"""from peft import PeftModel
from transformers import {kind}, AutoTokenizer

base = {kind}.from_pretrained("{under}")
model = PeftModel.from_pretrained(base, "{tuned}")
tokenizer = AutoTokenizer.from_pretrained("{under}")"""


def lineage(model: Model, base: Base) -> str:
    """All that is needed to train it again, and to know that it was this."""
    facts = {
        "base": f"{base.name}, from `{base.source}`",
        "weights, sha256" if base.source.startswith(ALONE) else "base weights, sha256": f"`{base.sha256}`",
        "chat template, sha256": f"`{base.template_sha256}`" if base.template_sha256 else "none",
        "data, sha256": f"`{model.data_sha256}`" if model.data_sha256 else "unknown",
        "job": f"`{model.job}`" if model.job else "none",
        "registered": f"{model.created:%Y-%m-%d %H:%M} UTC",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])
    if not model.recipe:
        return f"{table}\n\nIt was made elsewhere: its recipe and its data are not known."
    return f"{table}\n\nThe recipe, with every default filled in:\n\n```yaml\n{recipe_yaml(model)}```"


def recipe_yaml(model: Model) -> str:
    """The resolved recipe; what it leaves open is left out."""
    out = io.StringIO()
    YAML().dump({key: value for key, value in model.recipe.items() if value is not None}, out)
    return out.getvalue()


def hub_id(base: Base) -> str | None:
    """`org/name` of a base from the hub."""
    return base.source.removeprefix(HUB).partition("@")[0] if base.source.startswith(HUB) else None


def within(path: Path, home: Path) -> Path:
    """The path as it is written in the home folder."""
    return path.relative_to(home) if path.is_relative_to(home) else path
