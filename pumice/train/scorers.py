"""What an answer is worth: the recipe's word for a scorer as a function of texts. Knows no model, token or trainer."""

from __future__ import annotations

import importlib.util
import inspect
import math
import numbers
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import re2

from pumice.data.words import normalised, segmented
from pumice.errors import InputError
from pumice.store.s3 import is_uri
from pumice.train.rules import placed

Scorer = Callable[[str, str, Mapping[str, Any]], float]
"""A reward for what the user last said, the answer to it, and the row's other columns. More is better."""

RULE = "exact, json, regex:PATTERN in RE2's syntax, length:WORDS, file.py:function, or the name of a reward model"
KEY = "rlhf.reward"


class Word(NamedTuple):
    """A recipe's word for a scorer, read."""

    kind: Literal["exact", "json", "regex", "length", "python", "model"]
    detail: str = ""
    """The pattern, the number of words, the function, or the model's name."""
    file: str = ""
    """Where the function lies."""


def read(word: str) -> Word:
    """What a recipe's word means. Raises `ValueError` for one that means nothing; loads nothing."""
    head, colon, detail = word.partition(":")
    match head:
        case "exact" | "json" if not colon:
            return Word(head)
        case "regex" if detail:
            _compile(detail)
            return Word("regex", detail)
        case "length" if detail.isdecimal() and int(detail) > 0:
            return Word("length", detail)
        case "exact" | "json" | "regex" | "length":
            raise ValueError(word)
    file, _, function = word.rpartition(":")
    if file.endswith(".py") and function.isidentifier():
        return Word("python", function, file)
    if colon or word.endswith(".py") or not word or any(map(str.isspace, word)):
        raise ValueError(word)
    return Word("model", word)


def checked(word: str) -> str:
    """The word itself, if it is one."""
    read(word)
    return word


def located(word: str, find: Callable[[str], str]) -> str:
    """The word with its file, or the folder of its model, where `find` says; one that names neither as it is."""
    known = read(word)
    if known.kind == "python":
        return f"{find(known.file)}:{known.detail}"
    return placed(word, find) if known.kind == "model" else word


def scorer(word: str) -> Scorer:
    """The function that a word means; one of the user's own is loaded, which runs its file.

    Raises `InputError` for a file that cannot be run or has no such function. A reward model is no function of texts:
    who trains or compares holds it.
    """
    known = read(word)
    match known.kind:
        case "exact":
            return exact
        case "json":
            return is_json
        case "regex":
            return partial(matches, _compile(known.detail))
        case "length":
            return partial(short, int(known.detail))
    assert known.kind == "python"
    return _own(known.file, known.detail)


def exact(prompt: str, answer: str, facts: Mapping[str, Any]) -> float:
    """1 when the answer has the words of the fact `reference`, as the report's exact match counts them; else 0."""
    return float(normalised(answer) == normalised(str(facts["reference"])))


def is_json(prompt: str, answer: str, facts: Mapping[str, Any]) -> float:
    """1 when the whole answer is JSON, else 0."""
    try:
        orjson.loads(answer)
    except orjson.JSONDecodeError:
        return 0.0
    return 1.0


def matches(pattern: Any, prompt: str, answer: str, facts: Mapping[str, Any]) -> float:
    """1 when the pattern is found anywhere in the answer, else 0."""
    return float(pattern.search(answer) is not None)


def short(most: int, prompt: str, answer: str, facts: Mapping[str, Any]) -> float:
    """1 up to `most` words, then `most` by their number: twice as many are worth half. An empty answer is worth 0."""
    count = len(segmented(answer))
    return min(1.0, most / count) if count else 0.0


def _compile(pattern: str) -> Any:
    """RE2 takes time by the length of a text alone: no pattern and no answer can keep training busy for ever."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(pattern) from error


def _own(file: str, name: str) -> Scorer:
    """The user's function, its failures in words."""
    if is_uri(file):
        raise InputError(
            f"{KEY}: {file} lies in S3.",
            "A scorer is a program that runs here, and whoever may write to a bucket could change it.",
            "Copy the file to this machine and name it there.",
        )
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{KEY}: there is no file {file}.", fix="Check the path; it is relative to the recipe.")
    spec = importlib.util.spec_from_file_location(f"scorer_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # As import does: dataclasses look their own module up.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(spec.name, None)
        raise _failed(path, name, error, "The file could not be run.") from error
    function = vars(module).get(name)
    if not callable(function):
        known = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        has = f"It has {', '.join(known)}." if known else "It has no function at all."
        raise InputError(f"{KEY}: {file} has no function {name}.", has, f"Write `def {name}(prompt, answer, facts):`.")
    try:
        inspect.signature(function).bind("", "", {})
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{KEY}: {file}:{name} cannot be called with a prompt, an answer and the facts: {error}.",
            fix=f"Write `def {name}(prompt, answer, facts):`.",
        ) from error

    def score(prompt: str, answer: str, facts: Mapping[str, Any]) -> float:
        try:
            value = function(prompt, answer, dict(facts))
        except Exception as error:
            raise _failed(path, name, error, f"The scorer failed on the answer {answer[:80]!r}.") from error
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise InputError(
                f"{file}:{name} returned {value!r}.",
                f"That was for the answer {answer[:80]!r}; a reward is a finite number, and more is better.",
                "Return a number for every answer, 0 for one that is worth nothing.",
            )
        return float(value)

    return score


def _failed(path: Path, name: str, error: Exception, why: str) -> InputError:
    """What the user's code raised, at its own last line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    place = f"{path}:{lines[-1]}" if lines else f"{path}:{name}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"{place}: {type(error).__name__}: {text.strip().partition(chr(10))[0]}"
    return InputError(what, why, "Mend that line, and start again.")
