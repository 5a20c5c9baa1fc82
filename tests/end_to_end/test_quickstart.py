"""The main job with the real model: from the handbook to a model that answers, everywhere a user would ask it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from pumice.config import Home
from pumice.records import Base

# `ran` is tests/end_to_end/conftest.py's record of the shared run; `pumice` runs the command line in the same home.


@pytest.fixture
def learned(quickstart: object) -> tuple[str, str]:
    """A held-out question that the tuned model got right and the base wrong, with its answer."""
    samples = quickstart.document["report"]["samples"]  # type: ignore[attr-defined]
    right = [each for each in samples if each["tuned"] == each["reference"] != each["base"]]
    assert right, samples
    return right[0]["question"], right[0]["reference"]


def test_the_gain_is_plain(quickstart: object) -> None:
    document = quickstart.document  # type: ignore[attr-defined]
    report = document["report"]
    assert report["set"] == "validation file"
    assert report["base"]["exact_match"] < 0.1
    assert report["tuned"]["exact_match"] > 0.5
    assert report["verdict"] == "better"
    assert report["differences"]["token_f1"]["low"] > 0
    assert report["tuned"]["stopped"] > 0.9 * report["count"]
    assert document["model"] == "handbook@1"


def test_the_story_tells_every_step(quickstart: object) -> None:
    story = quickstart.story  # type: ignore[attr-defined]
    for words in ("Check the data", "Train", "Evaluate base against tuned", "Register", "Try next", "pumice serve"):
        assert words in story
    assert re.search(r"step \d+/\d+ +loss \d+\.\d+ +\(unseen rows \d+\.\d+\) +\d+ tokens/s +\d+:\d\d left", story)
    assert re.search(r"[\d,]+ of [\d,]+ tokens in \d+ rows are trained on", story)


def test_chat_prints_the_answer_alone(quickstart: object, pumice: object, learned: tuple[str, str]) -> None:
    assert callable(pumice)
    question, answer = learned
    done = pumice("chat", "handbook", "--prompt", question)
    assert (done.returncode, done.stdout) == (0, answer + "\n"), done.stderr


def test_the_adapter_loads_in_plain_peft(
    quickstart: object, base: Base, session_home: Home, learned: tuple[str, str]
) -> None:
    question, answer = learned
    folder = session_home.models / "handbook" / "1"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32), folder)
    asked = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        said = model.generate(**ids, max_new_tokens=48, do_sample=False)
    assert tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip() == answer


@pytest.fixture(scope="module")
def client(environment: dict[str, str]) -> Iterator[openai.OpenAI]:
    """The official client on a real `pumice serve`."""
    command = [sys.executable, "-m", "pumice", "serve", "--port", "0"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+/v1", line)))
    with openai.OpenAI(base_url=address, api_key="none") as made:
        yield made
    server.terminate()
    server.wait()
    server.stderr.close()


def test_the_example_answers(
    quickstart: object, client: openai.OpenAI, environment: dict[str, str], learned: tuple[str, str]
) -> None:
    question, answer = learned
    example = Path(__file__).parents[2] / "examples" / "openai_chat.py"
    here = {**environment, "OPENAI_BASE_URL": str(client.base_url)}
    command = [sys.executable, str(example), "handbook", question]
    assert subprocess.check_output(command, text=True, env=here) == answer + "\n"


@pytest.mark.parametrize("name", ["handbook", "handbook@1"])
def test_the_server_answers_under_every_name(
    quickstart: object, client: openai.OpenAI, learned: tuple[str, str], name: str
) -> None:
    question, answer = learned
    said = client.chat.completions.create(model=name, messages=[{"role": "user", "content": question}], temperature=0)
    assert said.choices[0].message.content == answer
    assert said.choices[0].finish_reason == "stop"


def test_the_base_answers_as_the_base(
    quickstart: object, client: openai.OpenAI, base: Base, learned: tuple[str, str]
) -> None:
    question, answer = learned
    said = client.chat.completions.create(
        model=base.name, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=40
    )
    assert answer not in str(said.choices[0].message.content)


def test_an_export_says_how_far_it_differs(quickstart: object, pumice: object, tmp_path: Path) -> None:
    assert callable(pumice)
    done = pumice("models", "export", "handbook", "--format", "gguf-f16", "--out", tmp_path / "f16.gguf", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["agreement"] == 1.0
    assert result["max_difference"] < 0.5
    assert os.path.getsize(tmp_path / "f16.gguf") > 200_000_000  # noqa: PTH202
    shown = json.loads(pumice("models", "show", "handbook", "--json").stdout)
    assert shown["exports"]["gguf-f16"]["max_difference"] == result["max_difference"]


def test_lists_show_the_run(quickstart: object, pumice: object) -> None:
    assert callable(pumice)
    document = quickstart.document  # type: ignore[attr-defined]
    assert "handbook@1" in [each["id"] for each in json.loads(pumice("models", "list", "--json").stdout)]
    jobs = {job["id"]: job for job in json.loads(pumice("jobs", "list", "--json").stdout)}
    assert jobs[document["job"]]["state"] == "succeeded"
    assert jobs[document["job"]]["model"] == "handbook@1"
    assert "tokens/s" in pumice("jobs", "logs", document["job"]).stderr
