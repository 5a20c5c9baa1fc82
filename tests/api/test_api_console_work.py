"""What the console does, as curl would: judge, estimate, stop, promote, vote, mend an answer, make rows of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from live_server import register, serving, write_adapter

from pumice.api.exchange import Exchange
from pumice.api.platform import open_platform
from pumice.bases import resolve
from pumice.config import Home
from pumice.errors import ConflictError
from pumice.jobs.queue import Queue
from pumice.records import Base, Event
from pumice.store.documents import Documents
from pumice.store.tables import open_database
from pumice.traffic.log import Log
from pumice.train.methods import METHODS

ROWS = [{"prompt": f"What colour is stone {at}?", "completion": f"Stone {at} is grey."} for at in range(8)]


@pytest.fixture(scope="module")
def home(tiny: Base, base: Base, session_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("work"))
    home.bases.mkdir()
    (home.bases / base.name).symlink_to(session_home.bases / base.name)
    under = resolve.resolve(str(tiny.folder), home)
    for token in (1000, 2000):
        register(home, under, "red", write_adapter(under, token, tmp_path_factory.mktemp("adapters") / str(token)))
    return home


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[httpx.Client]:
    with serving(home, bodies=True) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def upload(server: httpx.Client, text: str, name: str = "stones.jsonl") -> str:
    answer = server.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, text.encode())})
    return str(answer.json()["id"])


def lines(rows: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def test_a_file_is_judged_with_the_text_of_what_is_wrong(server: httpx.Client) -> None:
    bad = lines(ROWS[:3]) + '{"prompt": "And this?", "completion": ""}\n' + lines(ROWS[4:])
    found = server.post("/api/checks", json={"file": upload(server, bad)}).json()
    assert (found["ok"], found["split"]) == (False, None)
    (finding,) = found["check"]["findings"]
    assert (finding["line"], finding["field"]) == (4, "completion")
    assert found["texts"] == {"4": '{"prompt": "And this?", "completion": ""}'}
    good = server.post("/api/checks", json={"file": upload(server, lines(ROWS))}).json()
    assert good["ok"]
    assert good["split"] == {"trained": 8, "asked": 8, "set": "recall of trained rows"}
    trained = "".join(text for text, learned in good["check"]["sample"] if learned)
    assert trained.startswith("Stone 0 is grey.")


@pytest.mark.parametrize("word", ["/etc/passwd", "../secret.key", "file-none", "s3://none/rows.jsonl"])
def test_no_other_file_is_read(server: httpx.Client, word: str) -> None:
    recipe = {"recipe": {"data": word}}
    for path, body in {"checks": {"file": word}, "estimates": recipe, "jobs": recipe}.items():
        assert server.post(f"/api/{path}", json=body).status_code in (400, 404)


def test_the_form_follows_the_methods(server: httpx.Client) -> None:
    found = server.get("/api/methods").json()
    assert [each["name"] for each in found["methods"]] == list(METHODS)
    by_name = {each["name"]: each for each in found["methods"]}
    r = next(knob for knob in by_name["lora"]["knobs"] if knob["name"] == "r")
    assert (r["kind"], r["default"], r["rule"]) == ("whole", 16, "a whole number, 1 or more")
    assert "lora" in by_name["dpo"]["ways"]
    assert by_name["lora"]["ways"] == []
    shared = {knob["name"]: knob for knob in found["shared"]}
    assert shared["too_long"]["choices"] == ["error", "drop", "truncate", "split"]
    assert shared["packing"]["kind"] == "switch"
    assert not {"data", "model", "lora"} & set(shared)


def test_an_estimate_fills_the_recipe_in_and_starts_nothing(server: httpx.Client) -> None:
    before = server.get("/api/jobs").json()["data"]
    file = upload(server, lines(ROWS))
    found = server.post("/api/estimates", json={"recipe": {"data": file, "lora": {"r": 4}, "epochs": 2}}).json()
    assert found["rows"] == 8
    assert found["recipe"]["lora"]["alpha"] == 8
    assert found["recipe"]["data"] == "stones.jsonl"
    assert "learning_rate" in found["reasons"]
    assert found["yaml"].startswith("model: ")
    assert "epochs: 2.0" in found["yaml"]
    assert found["memory_bytes"] > 1e8
    assert all(price["dollars"] >= 0 for price in found["prices"])
    more = server.post("/api/estimates", json={"recipe": {"data": file, "lora": {"r": 64}, "epochs": 2}}).json()
    assert more["trainable_parameters"] > found["trainable_parameters"]
    wrong = server.post("/api/estimates", json={"recipe": {"data": file, "lora": {"rank": 4}}})
    assert wrong.status_code == 400
    assert "rank" in wrong.json()["error"]["message"]
    bad = server.post(
        "/api/estimates", json={"recipe": {"data": upload(server, '{"prompt": "?", "completion": ""}\n')}}
    )
    assert bad.json()["error"]["message"].startswith("stones.jsonl has 1 error")
    assert server.get("/api/jobs").json()["data"] == before


def test_a_job_is_stopped_and_its_log_is_read(server: httpx.Client, home: Home) -> None:
    queue = Queue(open_database(home.database), home)
    job = queue.submit("run", {"name": "waits"})
    queue.append(job.id, Event("note", {"text": "begun"}))
    (queue.folder(job.id) / "log.txt").write_text("a line\n")
    assert server.get(f"/api/jobs/{job.id}/log").json() == {"text": "a line\n", "cut": False}
    assert server.post(f"/api/jobs/{job.id}/stop").json()["state"] == "stopped"
    assert server.post(f"/api/jobs/{job.id}/stop").json()["state"] == "stopped"
    refused = server.post(f"/api/jobs/{job.id}/resume")
    assert (refused.status_code, "pumice jobs resume" in refused.text) == (409, True)
    assert server.post("/api/jobs/none/stop").status_code == 404


def test_a_version_is_moved_and_who_moved_it_is_kept(server: httpx.Client) -> None:
    assert server.put("/api/models/red@1/stage", json={"stage": "production"}).json()["stage"] == "production"
    assert server.put("/api/models/red@2/stage", json={"stage": "production"}).json()["stage"] == "production"
    one, two = (server.get(f"/api/models/red@{version}").json() for version in (1, 2))
    assert [(each["before"], each["after"]) for each in one["changes"]] == [
        ("production", "candidate"),
        ("candidate", "production"),
    ]
    assert [each["by"] for each in two["changes"]] == [None]
    assert "red" in two["card"]
    assert server.delete("/api/models/red@2").status_code == 409
    assert server.delete("/api/models/red@1").status_code == 204
    assert [each["id"] for each in server.get("/api/models").json()["data"]] == ["red@2"]
    assert server.post("/api/models/red@2/exports", json={"format": "gguf-q9"}).status_code == 400
    assert server.get("/api/models/red@2/exports/gguf-q8_0").status_code == 404


def test_bases_are_told_with_what_this_machine_can_do(server: httpx.Client) -> None:
    rows = server.get("/api/catalogue").json()["data"]
    assert {"full", "lora", "qlora"} == set(rows[0]["train"])


def vote(server: httpx.Client, left: str, right: str, choice: str) -> httpx.Response:
    sides = {"left": {"model": left, "text": f"says {left}"}, "right": {"model": right, "text": f"says {right}"}}
    return server.post("/api/votes", json={"prompt": "Which?", "choice": choice, **sides})


def test_votes_stand_for_a_model_whichever_side_it_sat_on(server: httpx.Client) -> None:
    for _ in range(4):
        assert vote(server, "tuned", "plain", "left").status_code == 200
        assert vote(server, "plain", "tuned", "right").status_code == 200
    vote(server, "plain", "tuned", "both")
    assert vote(server, "a", "b", "best").status_code == 400
    (standing,) = server.get("/api/votes").json()["standings"]
    assert (standing["one"], standing["other"]) == ("plain", "tuned")
    assert (standing["won"], standing["lost"], standing["tied"], standing["verdict"]) == (0, 8, 1, "worse")
    assert standing["interval"]["high"] < 0


def test_a_mended_answer_and_votes_become_rows_to_train_on(server: httpx.Client) -> None:
    asked = {"model": "red", "messages": [{"role": "user", "content": "Mend me"}], "max_tokens": 2}
    answer = server.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
    end = time.monotonic() + 30
    while not (rows := server.get("/api/requests", params={"contains": "Mend me"}).json()["data"]):
        assert time.monotonic() < end
    id = rows[0]["id"]
    (bare,) = server.get("/api/requests", params={"contains": "Mend me", "bodies": False}).json()["data"]
    assert (bare["id"], bare["request"], bare["response"]) == (id, None, None)
    assert server.get(f"/api/requests/{id}").json() == rows[0]
    assert server.get("/api/requests/req-none").status_code == 404
    assert server.post("/api/feedback", json={"request": "req-none", "thumb": "up"}).status_code == 404
    for odd in ("requests?status=1" + "0" * 30, "traffic?hours=1e-9"):
        assert server.get(f"/api/{odd}").status_code in (400, 422)
    limit = {"name": "odd", "requests_per_minute": 10**30}
    assert server.post("/api/keys", json=limit).status_code in (400, 422)
    said = {"request": id, "thumb": "down", "edit": "A better answer."}
    assert server.post("/api/feedback", json=said).json()["edit"] == "A better answer."
    vote(server, "tuned", "plain", "left")
    made = server.post("/api/datasets", json={"kind": "preference", "name": "judged"}).json()
    content = [json.loads(line) for line in server.get(f"/v1/files/{made['id']}/content").text.splitlines()]
    assert {"prompt": "Which?", "chosen": "says tuned", "rejected": "says plain"} in content
    mended = [row for row in content if row["chosen"] == "A better answer."]
    assert [row["rejected"] for row in mended] == [answer]
    assert server.post("/api/checks", json={"file": made["id"]}).json()["check"]["kind"] == "preference"
    chats = server.post("/api/datasets", json={"kind": "instruction", "name": "asked", "requests": [id]})
    (row,) = (json.loads(line) for line in server.get(f"/v1/files/{chats.json()['id']}/content").text.splitlines())
    assert row["messages"][-1] == {"role": "assistant", "content": "A better answer."}
    missing = server.post("/api/datasets", json={"kind": "instruction", "name": "asked", "requests": ["req-none"]})
    assert missing.status_code == 404


def test_a_data_set_of_what_fits_a_filter_holds_nothing_else(server: httpx.Client) -> None:
    for word in ("quartz", "basalt"):
        asked = {"model": "red", "messages": [{"role": "user", "content": f"Of {word}"}], "max_tokens": 2}
        assert server.post("/v1/chat/completions", json=asked).status_code == 200
    vote(server, "tuned", "plain", "left")

    def made(kind: str, **which: Any) -> httpx.Response:
        return server.post("/api/datasets", json={"kind": kind, "name": "some", **which})

    file = made("instruction", fitting={"contains": "quartz", "model": "red@2", "status": 200}).json()
    (row,) = (json.loads(line) for line in server.get(f"/v1/files/{file['id']}/content").text.splitlines())
    assert row["messages"][0]["content"] == "Of quartz"
    # The vote belongs to no request, and nobody mended one of these.
    for kind, fitting in (("preference", {"contains": "quartz"}), ("instruction", {"model": "blue@1"})):
        answer = made(kind, fitting=fitting)
        assert (answer.status_code, "Nothing here makes a row" in answer.text) == (400, True)
    assert "give one of the two" in made("instruction", requests=[], fitting={}).text


def test_traffic_is_told_as_curves(server: httpx.Client) -> None:
    server.post("/v1/chat/completions", json={"model": "nobody", "messages": [{"role": "user", "content": "?"}]})
    end = time.monotonic() + 30
    while not any(point["errors"] for point in server.get("/api/traffic", params={"hours": 1}).json()["data"]):
        assert time.monotonic() < end
    found = server.get("/api/traffic", params={"hours": 1}).json()
    assert len(found["data"]) == 48
    assert found["step_seconds"] == 75
    assert sum(point["requests"] for point in found["data"]) >= 1
    quiet = server.get("/api/traffic", params={"hours": 1, "model": "none"}).json()
    assert sum(point["requests"] for point in quiet["data"]) == 0


def test_variants_are_told_with_their_weights(server: httpx.Client, home: Home) -> None:
    variants = {"blue": {"served": "red@2", "weight": 3}, "green": {"served": None, "weight": 1}}
    Documents(open_database(home.database)).add(
        "sagemaker-endpoint", "shop", {"status": "InService", "variants": variants}
    )
    shop = {"endpoint": "shop", "status": "InService"}
    green = {**shop, "variant": "green", "model": "", "weight": 1.0}
    assert server.get("/api/variants").json()["data"] == [
        {**shop, "variant": "blue", "model": "red@2", "weight": 3.0},
        green,
    ]
    assert server.get("/api/models/red@2").json()["endpoints"] == ["shop"]
    moved = server.put("/api/variants/shop", json={"weights": {"blue": 0.5}}).json()["data"]
    assert moved == [{**shop, "variant": "blue", "model": "red@2", "weight": 0.5}, green]
    for weights, told in (({"red": 1}, "none of shop's: blue, green"), ({"blue": -1}, "greater than or equal to 0")):
        answer = server.put("/api/variants/shop", json={"weights": weights})
        assert (answer.status_code, told in answer.text) == (400, True)
    assert "Could not find endpoint 'shed'" in server.put("/api/variants/shed", json={"weights": {}}).text
    assert server.get("/api/variants").json()["data"] == moved


def test_the_first_page_and_the_settings(server: httpx.Client, home: Home) -> None:
    now = server.get("/api/overview").json()
    assert now["models"] == len(server.get("/api/models").json()["data"])
    assert now["jobs"] == len(server.get("/api/jobs").json()["data"])
    settings = server.get("/api/settings").json()
    assert (settings["home"], settings["database"], settings["log_bodies"]) == (str(home.root), "SQLite", True)
    assert settings["log_days"] == 30
    assert {each["folder"] for each in settings["used"]} >= {"models", "files"}
    assert server.get("/api/doctor").json()["examination"]["machine"]["cores"] >= 1
    assert server.get("/api/session").json() == {"key": None, "role": "admin", "version": settings["version"]}


def test_the_log_is_told_how_long_to_keep_a_request(server: httpx.Client, home: Home) -> None:
    database = open_database(home.database)
    old = Exchange("req-old", datetime.now(UTC) - timedelta(days=8), operation="chat", model="red@1")
    log = Log(database, timedelta(days=30))
    log.add(old.record(200, bodies=False))
    log.close()
    route = "/api/settings/retention"
    assert server.get(route).json() == {"days": 30, "fixed": False, "requests": 0}
    assert server.get(route, params={"days": 7}).json() == {"days": 30, "fixed": False, "requests": 1}
    assert server.get("/api/requests/req-old").status_code == 200
    assert server.put(route, json={"days": 0}).status_code == 400
    assert server.put(route, json={"days": 7}).json()["days"] == 7
    end = time.monotonic() + 30
    while server.get("/api/requests/req-old").status_code == 200:
        assert time.monotonic() < end, "it was never deleted"
    assert server.get("/api/settings").json()["log_days"] == 7
    # A server that is started later knows it, but the environment's word counts.
    again = open_platform(home, database)
    assert (again.log.days, again.retention.fixed) == (7, False)
    again.log.close()
    said = open_platform(home, database, log_days=60)
    assert (said.log.days, said.retention.fixed) == (60, True)
    with pytest.raises(ConflictError, match="PUMICE_LOG_DAYS=60 is set where this server was started"):
        said.retention.keep(7)
    said.log.close()


def test_a_kept_template_is_filled_in_and_no_file_is_read(server: httpx.Client) -> None:
    found = {each["name"]: each for each in server.get("/api/prompts").json()["data"]}
    assert {"qa", "summarise", "classify", "translate"} <= set(found)
    assert found["qa"]["variables"] == []
    filled = server.post("/api/prompts/filled", json={"template": "qa", "question": "What colour is it?"}).json()
    assert filled["user"].endswith("What colour is it?")
    lacking = server.post("/api/prompts/filled", json={"template": "translate", "question": "Stone"})
    assert (lacking.status_code, "translate:" in lacking.text) == (400, True)
    for word in ("/etc/passwd.jinja", "nobody"):
        assert server.post("/api/prompts/filled", json={"template": word, "question": "?"}).status_code in (400, 404)


def test_a_template_is_written_and_changed(server: httpx.Client) -> None:
    def keep(text: str, name: str = "stones") -> httpx.Response:
        return server.post("/api/prompts", json={"name": name, "text": text})

    first = keep("Of {{ kind }}: {{ question }}").json()
    shown = {"name": "stones@1", "text": "Of {{ kind }}: {{ question }}", "variables": ["kind"]}
    assert first == {"template": shown, "new": True}
    assert keep("About {{ question }}").json()["template"]["name"] == "stones@2"
    assert keep("Of {{ kind }}: {{ question }}").json() == {"template": shown, "new": False}
    names = [each["name"] for each in server.get("/api/prompts").json()["data"]]
    assert names[:2] == ["stones@2", "stones@1"]
    filling = {"template": "stones@1", "question": "Grey?", "variables": {"kind": "pumice"}}
    assert server.post("/api/prompts/filled", json=filling).json()["user"] == "Of pumice: Grey?"
    for text, name, status, told in (
        ("{{ question", "stones", 400, "stones:1: unexpected"),
        ("Say something.", "stones", 400, "does not write its question"),
        ("{{ question }}", "qa", 409, "ships with Pumice"),
        ("{{ question }}", "../x", 400, "name"),
    ):
        answer = keep(text, name)
        assert (answer.status_code, told in answer.text) == (status, True), answer.text
