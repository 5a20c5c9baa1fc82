"""The process that holds transformers: llama-server's `/completion`, `/score`, `/embed` and `/classify`, one at a time.

Ids in and ids out; it has no tokenizer. Only its parent speaks with it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)
from transformers.generation.streamers import BaseStreamer

from pumice.engine.hf_adapters import Adapters
from pumice.engine.hf_classifier import Classifier
from pumice.engine.leash import Leash, read_orders
from pumice.engine.vocabulary import stop_ids

_SCORED_AT_ONCE = 1024
"""Tokens: the logits of a long text would not fit into memory."""
_EMBEDDED_AT_ONCE = 16
"""Texts."""

Scored = tuple[int, float, list[tuple[int, float]]]


class Runner:
    """The model, its adapters and the lock that lets one request at a time near them."""

    def __init__(self, folder: Path, kind: Any) -> None:
        """`kind` is one of transformers' Auto classes."""
        self._folder, self._kind = folder, kind
        self._stops = stop_ids(folder, json.loads((folder / "config.json").read_bytes()))
        self._model = self._load()
        self._adapters = Adapters(self._model)
        self._lock = threading.Lock()

    def _load(self) -> Any:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model: Any = self._kind.from_pretrained(self._folder, dtype=dtype, local_files_only=True)
        # The folder's own sampling defaults must not reach a request.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        return model.to(device).eval()

    def adapt(self, name: str, folder: str | None) -> None:
        """Load the adapter, in the place of one of the same name, or unload it when there is no folder."""
        with self._lock:
            if folder is None:
                self._adapters.take(name)
            else:
                self._adapters.put(name, folder)

    @contextmanager
    def _as(self, adapter: str | None) -> Iterator[Any]:
        """The model with exactly this adapter; None is the base."""
        with self._lock, torch.no_grad():
            yield self._adapters.model(adapter)

    def complete(self, asked: Mapping[str, Any], streamer: BaseStreamer, watch: Watch) -> None:
        """Generate to `streamer`, which sees the prompt first and then one token at a time, the stop token too."""
        config = self._generation(asked)
        with self._as(asked.get("adapter")) as model:
            if "seed" in asked:
                torch.manual_seed(asked["seed"])
            ids = torch.tensor([asked["prompt"]], device=model.device)
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                logits_processor=LogitsProcessorList([watch, Penalties(asked)]),
                streamer=streamer,
            )

    def _generation(self, asked: Mapping[str, Any]) -> GenerationConfig:
        greedy = asked["temperature"] <= 0
        sampling = {} if greedy else {key: asked[key] for key in ("temperature", "top_p", "top_k")}
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=asked["n_predict"], do_sample=not greedy, eos_token_id=self._stops or None, **sampling
        )
        config.pad_token_id = self._stops[0] if self._stops else 0
        return config

    def score(self, ids: list[int], adapter: str | None, top: int) -> list[Scored]:
        """Each id but the first, with its log-probability given those before it and the `top` most likely."""
        found: list[Scored] = []
        with self._as(adapter):
            model, cache = self._adapters.start(adapter)
            for start in range(0, len(ids) - 1, _SCORED_AT_ONCE):
                seen = torch.tensor([ids[start : start + _SCORED_AT_ONCE]], device=model.device)
                last = start + _SCORED_AT_ONCE >= len(ids)
                chunked = {} if last and cache is None else {"past_key_values": cache, "use_cache": True}
                output = model(input_ids=seen, **chunked)
                cache = output.get("past_key_values")
                target = torch.tensor(ids[start + 1 : start + 1 + _SCORED_AT_ONCE], device=model.device)
                logits = output.logits[0, : len(target)].float()
                total = logits.logsumexp(-1, keepdim=True)
                chosen = (logits.gather(-1, target[:, None]) - total)[:, 0]
                best = logits.topk(top)
                tops = zip(best.indices.tolist(), (best.values - total).tolist(), strict=True)
                pairs = [list(zip(*each, strict=True)) for each in tops]
                found += zip(target.tolist(), chosen.tolist(), pairs, strict=True)
        return found

    def embed(self, batch: list[list[int]]) -> list[list[float]]:
        """The mean of the last hidden states of each text, of length 1."""
        # Texts of about one length together: what is padded is computed for nothing.
        order = sorted(range(len(batch)), key=lambda at: len(batch[at]))
        vectors: list[list[float]] = [[]] * len(batch)
        with self._as(None) as model:
            reader: Any = model.base_model
            for start in range(0, len(order), _EMBEDDED_AT_ONCE):
                places = order[start : start + _EMBEDDED_AT_ONCE]
                ids = pad_sequence([torch.tensor(batch[at]) for at in places], batch_first=True).to(model.device)
                lengths = torch.tensor([len(batch[at]) for at in places], device=model.device)
                mask = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
                states = reader(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
                means = (states * mask[..., None]).sum(1) / lengths[:, None]
                for at, vector in zip(places, torch.nn.functional.normalize(means, dim=-1).tolist(), strict=True):
                    vectors[at] = vector
        return vectors

    def is_stop(self, token: int) -> bool:
        """Whether the token ends an answer."""
        return token in self._stops


class TwoHalves(Runner):
    """A seq2seq model: what it reads ends with the first stop token, and what it writes follows."""

    def _generation(self, asked: Mapping[str, Any]) -> GenerationConfig:
        config = super()._generation(asked)
        config.decoder_start_token_id = self._model.config.decoder_start_token_id
        return config

    def score(self, ids: list[int], adapter: str | None, top: int) -> list[Scored]:
        """See `Runner.score`; what is read has no likelihood, and gets 0."""
        border = 1 + next((at for at, each in enumerate(ids) if each in self._stops), len(ids) - 2)
        with self._as(adapter) as model:
            read, target = (torch.tensor([part], device=model.device) for part in (ids[:border], ids[border:]))
            logits = model(input_ids=read, labels=target).logits[0].float()
        logprobs = logits.log_softmax(-1)
        chosen = logprobs.gather(-1, target[0, :, None])[:, 0].tolist()
        best = logprobs.topk(top)
        pairs = [
            list(zip(*each, strict=True)) for each in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        unread: list[Scored] = [(each, 0.0, []) for each in ids[1:border]]
        return unread + list(zip(ids[border:], chosen, pairs, strict=True))


class Watch(LogitsProcessor):
    """Sees the model's own logits before anything changes them, and changes nothing."""

    def __init__(self) -> None:
        self.logits = torch.empty(0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.logits = scores[0].float()
        return scores

    def report(self, token: int, count: int) -> dict[str, Any]:
        """The chosen token's log-probability and the `count` most likely, as llama-server says it."""
        logprobs = self.logits.log_softmax(-1)
        values, ids = logprobs.topk(count)
        top = [{"id": id_, "logprob": value} for id_, value in zip(ids.tolist(), values.tolist(), strict=True)]
        return {"id": token, "logprob": float(logprobs[token]), "top_logprobs": top}


class Penalties(LogitsProcessor):
    """Frequency and presence penalties over the text so far, the prompt included, as in llama.cpp."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._frequency, self._presence = asked["frequency_penalty"], asked["presence_penalty"]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not (self._frequency or self._presence):
            return scores
        counts: Tensor = torch.bincount(input_ids[0], minlength=scores.shape[-1])
        lowered: Tensor = scores - counts * self._frequency - (counts > 0) * self._presence
        return lowered


class Events(BaseStreamer):
    """Writes each token as one event; a client that has left ends the answer by the error of writing to it."""

    def __init__(self, handler: Handler, watch: Watch, alternatives: int) -> None:
        self._handler, self._watch, self._alternatives = handler, watch, alternatives
        self._prompt = True
        self._count = 0
        self._last = -1

    def put(self, value: Tensor) -> None:
        if self._prompt:
            self._prompt = False
            return
        self._last = int(value.item())
        self._count += 1
        text = "" if self._handler.runner.is_stop(self._last) else "?"
        event: dict[str, Any] = {"stop": False, "content": text, "tokens": [self._last]}
        if self._alternatives:
            event["completion_probabilities"] = [self._watch.report(self._last, self._alternatives)]
        self._handler.send_event(event)

    def end(self) -> None:
        stopped = self._handler.runner.is_stop(self._last)
        end: dict[str, Any] = {
            "stop": True,
            "stop_type": "eos" if stopped else "limit",
            "tokens": [],
            "tokens_predicted": self._count,
        }
        self._handler.send_event(end)


class Handler(BaseHTTPRequestHandler):
    """The questions that the parent asks; a classifier is asked for classes only."""

    runner: Runner
    classifier: Classifier

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._streaming = False
        try:
            self._answer(asked)
        except ConnectionError:
            self.close_connection = True
        except Exception as error:
            logging.exception("%s failed", self.path)
            self._fail(error)

    def send_event(self, event: Mapping[str, Any]) -> None:
        """One event of a stream."""
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _answer(self, asked: Mapping[str, Any]) -> None:
        match self.path:
            case "/completion":
                self._complete(asked)
            case "/score":
                self._send({"tokens": self.runner.score(asked["prompt"], asked["adapter"], asked["top"])})
            case "/embed":
                self._send({"vectors": self.runner.embed(asked["batch"])})
            case "/classify":
                self._send({"values": self.classifier.classify(asked["batch"])})
            case "/adapters":
                self.runner.adapt(asked["name"], asked["folder"])
                self._send({})

    def _fail(self, error: Exception) -> None:
        message = "\n".join(str(error).splitlines()[:2]) or type(error).__name__
        if self._streaming:
            self.send_event({"error": {"message": message}})
        else:
            self._send({"error": {"message": message}}, 400 if self.path == "/adapters" else 500)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log's last line is for what went wrong."""

    def _complete(self, asked: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._streaming = True
        watch = Watch()
        self.runner.complete(asked, Events(self, watch, asked["n_probs"]), watch)

    def _send(self, answer: Mapping[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingMixIn, UnixStreamServer):
    """A thread a connection."""

    daemon_threads = True
    request_queue_size = 128


def runner(folder: Path, orders: Mapping[str, Any]) -> Runner:
    """What runs a model that is no classifier."""
    if orders["seq2seq"]:
        return TwoHalves(folder, AutoModelForSeq2SeqLM)
    return Runner(folder, AutoModel if orders["reads_only"] else AutoModelForCausalLM)


def main() -> None:
    """Serve until the parent ends."""
    leash = Leash()
    orders = read_orders()
    torch.set_num_threads(orders["threads"])
    if orders["classifies"]:
        Handler.classifier = Classifier(Path(orders["model"]))
    else:
        Handler.runner = runner(Path(orders["model"]), orders)
    server = Server(orders["socket"], Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    leash.announce()
    leash.hold()


if __name__ == "__main__":
    main()
