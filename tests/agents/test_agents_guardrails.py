"""Personal data is known by its form, and by what its form promises."""

from __future__ import annotations

import pytest

from pumice.agents.guardrails import check, personal, profanity, regex, word


@pytest.mark.parametrize(
    ("kind", "there", "not_there"),
    [
        ("EMAIL", "ann.lee+x@mail.example.org", "ann@home"),
        ("URL", "https://example.org/a?b=1", "example"),
        ("IP_ADDRESS", "192.168.1.254", "192.168.1.256"),
        ("IP_ADDRESS", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "12:30:45"),
        ("MAC_ADDRESS", "00:1B:44:11:3A:B7", "00:1B:44"),
        ("CREDIT_DEBIT_CARD_NUMBER", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("INTERNATIONAL_BANK_ACCOUNT_NUMBER", "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("US_SOCIAL_SECURITY_NUMBER", "536-22-1234", "000-22-1234"),
        ("AWS_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7"),
        ("AWS_SECRET_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a" * 40),
        ("PHONE", "+1 (212) 555-0100", "12-34"),
        ("PHONE", "+49 30 901820", "2026-11-22"),
    ],
)
def test_personal_data_is_found_and_what_only_looks_like_it_is_not(kind: str, there: str, not_there: str) -> None:
    rule = personal(kind, "mask")
    assert check([rule], f"It is {there}, yes.").text == f"It is {{{kind}}}, yes."
    assert check([rule], f"It is {not_there}, yes.").findings == ()


def test_words_are_found_whole_and_in_any_case() -> None:
    assert check([word("red fox")], "A Red Fox ran").blocked
    assert not check([word("red fox")], "a red foxglove").blocked
    assert check([profanity()], "Bullshitting again").blocked
    assert not check([profanity()], "Scunthorpe").findings


def test_two_rules_never_mask_the_same_place() -> None:
    rules = [personal("EMAIL", "mask"), regex("org", r"\w+\.org", "mask")]
    assert check(rules, "ann@example.org or b.org").text == "{EMAIL} or {org}"


def test_what_is_only_reported_changes_nothing() -> None:
    checked = check([regex("digits", r"\d+", "none")], "a 1")
    assert (checked.text, checked.blocked, checked.masked, len(checked.findings)) == ("a 1", False, False, 1)
