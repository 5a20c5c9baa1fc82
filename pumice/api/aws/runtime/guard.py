"""A guardrail at work: its document as rules, and what they found in Bedrock's shape. Knows no body of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pumice.agents import guardrails
from pumice.agents.guardrails import PERSONAL, Action, Checked, Finding, Rule
from pumice.api.aws.bedrock.guardrails import find
from pumice.api.aws.runtime.question import Question, refuse
from pumice.api.platform import Platform
from pumice.records import Turn

Side = Literal["input", "output"]
UNIT = 1000
"""Characters that are counted as one unit of a policy."""
_ACTIONS: Mapping[str, Action] = {"BLOCK": "block", "ANONYMIZE": "mask", "NONE": "none"}
_DONE: Mapping[Action, str] = {"block": "BLOCKED", "mask": "ANONYMIZED", "none": "NONE"}


class Guard:
    """One version of a guardrail over one request; remembers what it found."""

    def __init__(self, body: Mapping[str, Any], trace: bool = False, asynchronous: bool = False) -> None:
        """`body` is the guardrail's document. `asynchronous` answers are not held back while they are looked at."""
        self.id: str = body["id"]
        self.blocked_input: str = body["blockedInputMessaging"]
        self.blocked_output: str = body["blockedOutputsMessaging"]
        self.traced, self.asynchronous = trace, asynchronous
        self._body = body
        self._rules = {"input": list(_rules(body, "input")), "output": list(_rules(body, "output"))}
        self._checked: dict[Side, list[Checked]] = {"input": [], "output": []}
        self.intervened = False

    def check(self, side: Side, text: str) -> Checked:
        """Look at a text and remember what was found. Blocks for as long as the patterns take."""
        checked = guardrails.check(self._rules[side], text)
        self._checked[side].append(checked)
        self.intervened |= checked.blocked or checked.masked
        return checked

    def ask(self, question: Question) -> Question | None:
        """The question as the model may see it, None when it may not."""
        if question.prompt is not None:
            checked = self.check("input", question.prompt)
            return None if checked.blocked else replace(question, prompt=checked.text)
        texts = question.guarded
        if texts is None:
            texts = tuple(turn["content"] for turn in question.turns if turn["role"] in ("user", "tool"))
        masked = {text: self.check("input", text) for text in texts}
        if any(checked.blocked for checked in masked.values()):
            return None
        return replace(question, turns=tuple(_masked(turn, masked) for turn in question.turns))

    def answer(self, text: str) -> Checked:
        """What was found in an answer."""
        return self.check("output", text)

    def masked(self, text: str) -> str:
        """An answer as it may be shown."""
        return guardrails.check(self._rules["output"], text).text

    def assessments(self, side: Side) -> list[dict[str, Any]]:
        """Of every text of one side."""
        return [assessment(checked.findings) for checked in self._checked[side]]

    def trace(self) -> dict[str, Any]:
        """The trace of Converse: empty unless it was asked for."""
        if not self.traced:
            return {}
        found = [each for checked in self._checked["input"] for each in checked.findings]
        told: dict[str, Any] = {"inputAssessment": {self.id: assessment(found)}}
        if self._checked["output"]:
            told["outputAssessments"] = {self.id: self.assessments("output")}
        return {"trace": {"guardrail": told}}

    def usage(self, characters: int) -> dict[str, int]:
        """Units of each policy over so many characters; patterns cost nothing."""
        units = max(1, math.ceil(characters / UNIT))
        sensitive = self._body.get("sensitiveInformationPolicyConfig", {})
        return {
            "topicPolicyUnits": 0,
            "contentPolicyUnits": 0,
            "wordPolicyUnits": units if "wordPolicyConfig" in self._body else 0,
            "sensitiveInformationPolicyUnits": units if sensitive.get("piiEntitiesConfig") else 0,
            "sensitiveInformationPolicyFreeUnits": units if sensitive.get("regexesConfig") else 0,
            "contextualGroundingPolicyUnits": 0,
        }


def load(platform: Platform, config: Mapping[str, Any] | None) -> Guard | None:
    """The guardrail of a request's `guardrailConfig`, None without one. Blocks."""
    if not config:
        return None
    if missing := next((key for key in ("guardrailIdentifier", "guardrailVersion") if not config.get(key)), None):
        raise refuse(
            f"{missing}: a guardrail is named by guardrailIdentifier and guardrailVersion, such as DRAFT or 1."
        )
    document = find(platform, config["guardrailIdentifier"], config["guardrailVersion"])
    trace = config.get("trace", "disabled").lower() != "disabled"
    return Guard(document.body, trace, config.get("streamProcessingMode") == "async")


def assessment(findings: Sequence[Finding]) -> dict[str, Any]:
    """What was found, policy by policy; a policy that found nothing is left out."""
    words: dict[str, list[Any]] = {"customWords": [], "managedWordLists": []}
    sensitive: dict[str, list[Any]] = {"piiEntities": [], "regexes": []}
    for found in findings:
        rule = found.rule
        told = {"match": found.text, "action": _DONE[rule.action], "detected": True}
        match rule.kind:
            case "word":
                words["customWords"].append(told)
            case "list":
                words["managedWordLists"].append({**told, "type": rule.name})
            case "personal":
                sensitive["piiEntities"].append({**told, "type": rule.name})
            case "regex":
                sensitive["regexes"].append({**told, "name": rule.name, "regex": rule.pattern.pattern})
    policies = {"wordPolicy": words, "sensitiveInformationPolicy": sensitive}
    return {name: parts for name, parts in policies.items() if any(parts.values())}


def _rules(body: Mapping[str, Any], side: Side) -> Iterator[Rule]:
    words, sensitive = body.get("wordPolicyConfig", {}), body.get("sensitiveInformationPolicyConfig", {})
    for each in _enabled(words.get("wordsConfig"), side):
        yield guardrails.word(each["text"], _action(each, side))
    for each in _enabled(words.get("managedWordListsConfig"), side):
        yield guardrails.profanity(_action(each, side))
    for each in _enabled(sensitive.get("piiEntitiesConfig"), side):
        if each["type"] not in PERSONAL:
            sentence = f"The guardrail {body['id']} looks for {each['type']}, which has no form to know it by here."
            raise refuse(f"{sentence} These have: {', '.join(sorted(PERSONAL))}.")
        yield guardrails.personal(each["type"], _action(each, side))
    for each in _enabled(sensitive.get("regexesConfig"), side):
        yield guardrails.regex(each["name"], each["pattern"], _action(each, side))


def _enabled(entries: Sequence[Mapping[str, Any]] | None, side: Side) -> Iterator[Mapping[str, Any]]:
    return (each for each in entries or () if each.get(f"{side}Enabled", True))


def _action(entry: Mapping[str, Any], side: Side) -> Action:
    return _ACTIONS[entry.get(f"{side}Action") or entry.get("action") or "BLOCK"]


def _masked(turn: Turn, checked: Mapping[str, Checked]) -> Turn:
    content = turn["content"]
    if turn["role"] in ("user", "tool"):
        for text, found in checked.items():
            if found.masked:
                content = content.replace(text, found.text)
    return {**turn, "content": content}
