"""Words, patterns and personal data in a text: found, and blocked or masked. Knows no model and no wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import re2

Action = Literal["block", "mask", "none"]
"""`none` only reports."""
Kind = Literal["word", "list", "regex", "personal"]

PROFANITY = ("asshole", "bastard", "bitch", "bullshit", "cunt", "dickhead", "fuck", "motherfucker", "shit", "wanker")
"""The managed list: these words and what is made of them with an ending, in English. Kept small on purpose; whoever
needs more lists words of their own."""


def _luhn(text: str) -> bool:
    """Whether the digits check, as those of every card do."""
    digits = [int(each) for each in reversed(re.sub(r"\D", "", text))]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """Whether the two check digits fit (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def _ip(text: str) -> bool:
    return ":" in text or all(int(part) < 256 for part in text.split("."))


def _phone(text: str) -> bool:
    """Enough digits, and neither a date nor an address of a machine."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{1,3}(\.\d{1,3}){3}", text):
        return False
    return 7 <= sum(each.isdigit() for each in text) <= 15


def _social(text: str) -> bool:
    """Numbers that were never given out are none."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _any(text: str) -> bool:
    return True


PERSONAL: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "EMAIL": (r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", _any),
    "URL": (r"(?:https?://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)]", _any),
    "IP_ADDRESS": (
        r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])",
        _ip,
    ),
    "MAC_ADDRESS": (r"(?<![\w:-])[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}(?![\w:-])", _any),
    "CREDIT_DEBIT_CARD_NUMBER": (r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])", _luhn),
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": (r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", _iban),
    "US_SOCIAL_SECURITY_NUMBER": (r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", _social),
    "AWS_ACCESS_KEY": (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", _any),
    "AWS_SECRET_KEY": (
        r"(?<![A-Za-z0-9/+=])(?=[A-Za-z0-9/+]*[A-Z])(?=[A-Za-z0-9/+]*[a-z])(?=[A-Za-z0-9/+]*\d)"
        r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
        _any,
    ),
    "PHONE": (r"(?<![\w.-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,8}){1,4}(?![\w-])", _phone),
}
"""Personal data that has a form, by Bedrock's own word for it: a pattern, and what a match must be beside."""


@dataclass(frozen=True)
class Rule:
    """One thing to look for, and what is done where it is found."""

    kind: Kind
    name: str
    """The word itself, the managed list, the name of the pattern, or the sort of personal data."""
    pattern: re.Pattern[str]
    action: Action
    valid: Callable[[str], bool] = _any


@dataclass(frozen=True)
class Finding:
    """A match."""

    rule: Rule
    text: str


@dataclass(frozen=True)
class Checked:
    """A text that was looked at. `text` has its masked parts replaced by `{NAME}`."""

    text: str
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        return any(found.rule.action == "block" for found in self.findings)

    @property
    def masked(self) -> bool:
        return any(found.rule.action == "mask" for found in self.findings)


def word(text: str, action: Action = "block") -> Rule:
    """A word or phrase, whole and in any case."""
    return Rule("word", text, re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE), action)


def profanity(action: Action = "block") -> Rule:
    """The managed list."""
    return Rule("list", "PROFANITY", re.compile(rf"(?<!\w)(?:{'|'.join(PROFANITY)})\w*", re.IGNORECASE), action)


def regex(name: str, pattern: str, action: Action) -> Rule:
    """A pattern of the user's own, in RE2's syntax. Raises `re.error` for one that is none.

    RE2 takes time by the length of a text alone; Python's engine could be kept busy for ever by a pattern or a text.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return Rule("regex", name, re2.compile(pattern, options), action)
    except re2.error as error:
        raise re.error(error.args[0].decode()) from error


def personal(name: str, action: Action) -> Rule:
    """A sort of personal data. Raises `KeyError` for one that has no form to know it by: `NAME`, `ADDRESS`."""
    pattern, valid = PERSONAL[name]
    return Rule("personal", name, re.compile(pattern), action, valid)


def check(rules: Iterable[Rule], text: str) -> Checked:
    """Look for everything, in the order of the rules; where two want to mask the same place, the first does."""
    findings: list[Finding] = []
    places: list[tuple[int, int, str]] = []
    for rule in rules:
        for match in rule.pattern.finditer(text):
            if not match[0] or not rule.valid(match[0]):
                continue
            start, end = match.span()
            if any(start < other_end and other < end for other, other_end, _ in places):
                continue
            findings.append(Finding(rule, match[0]))
            if rule.action == "mask":
                places.append((start, end, rule.name))
    masked = text
    for start, end, name in sorted(places, reverse=True):
        masked = f"{masked[:start]}{{{name}}}{masked[end:]}"
    return Checked(masked, tuple(findings))
