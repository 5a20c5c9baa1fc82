"""Every failure that a user can meet: what happened, why, and what to do next.

This module knows nothing of exit codes, HTTP or terminals; `cli` and `api` translate at their edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PumiceError(Exception):
    """A failure with a way out: `what` names the user's own word and its value, `why` the rule, `fix` the next step."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.fix) if line)


class InputError(PumiceError):
    """The user's input is at fault: a recipe, a file, a name."""


class RequestError(InputError):
    """One field of a request is at fault; `field` is its path and `code` a word that programs can tell it by."""

    def __init__(self, what: str, why: str = "", fix: str = "", field: str = "", code: str = "invalid_value") -> None:
        super().__init__(what, why, fix)
        self.field, self.code = field, code


class NotFoundError(InputError):
    """Something named by the user does not exist."""


class ConflictError(InputError):
    """It exists already, or is in a state that does not allow this."""


class DeniedError(InputError):
    """The caller is unknown, or its key may not do this."""


class ExhaustedError(PumiceError):
    """A rate, a budget or the machine's room is used up; `seconds` says when to ask again."""

    def __init__(self, what: str, why: str = "", fix: str = "", seconds: int = 2) -> None:
        super().__init__(what, why, fix)
        self.seconds = seconds


class UnavailableError(PumiceError):
    """A part of the platform cannot answer now; the same request may work later."""


class StoppedError(PumiceError):
    """Work ended early because the user asked for it; what was done so far is kept."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a data file, where it is, the rule it breaks and the fix."""

    path: str
    line: int  # 1-based; for Parquet the row
    column: int  # 1-based character of the value at fault; 1 when the whole line is
    field: str  # the user's own column or key, "" when the whole row is at fault
    rule: str  # a sentence: what is wrong and what must be
    fix: str  # a sentence: what to do

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.path}:{self.line}:{self.column}: {field}{self.rule} {self.fix}"


class DataError(InputError):
    """A data file broke rules. Holds the first findings in file order and the count of all."""

    def __init__(self, path: str, findings: Sequence[Finding], total: int) -> None:
        lines = [str(finding) for finding in findings]
        if total > len(findings):
            lines.append(f"... and {total - len(findings):,} more.")
        noun = "error" if total == 1 else "errors"
        super().__init__(f"{path} has {total:,} {noun}; nothing was trained or changed.", "\n".join(lines))
        self.findings, self.total = tuple(findings), total
