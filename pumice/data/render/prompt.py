"""A prompt that a user writes in Jinja: one turn of the user, and a system turn where it has one. Knows no tokens.

What it renders is a turn like any other; the base's chat template comes after it.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro

from pumice.data.render.template import sandbox
from pumice.errors import InputError

_SYSTEM = "_system"
_FILE = "<template>"
"""What Jinja calls a template that comes from no file, in tracebacks."""


class _System(Extension):
    """`{% system %}…{% endsystem %}`: its body becomes the system turn, and is no part of the user's."""

    tags = {"system"}  # noqa: RUF012  jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endsystem",), drop_needle=True)
        call = self.call_method("_keep", [jinja2.nodes.ContextReference()])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _keep(self, context: Context, caller: Macro) -> str:
        context[_SYSTEM].append(caller())
        return ""


class Prompt:
    """A prompt template, ready to be filled in. Safe to share between threads."""

    def __init__(self, template: jinja2.Template, name: str, variables: frozenset[str]) -> None:
        self.variables = variables
        """Every variable that it names."""
        self._template, self._name = template, name

    def render(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """The user's turn and the system turn, "" without one; white space around them is cut off.

        Raises `InputError` with the line for a variable that has no value and for whatever else fails in it.
        """
        told: list[str] = []
        try:
            user = self._template.render({**values, _SYSTEM: told})
        except jinja2.UndefinedError as error:
            raise InputError(
                f"{self._name}:{_line(error)}: {error.message}.",
                f"It has these variables: {', '.join(sorted(values))}.",
                "Give it a value with --var NAME=VALUE, or test it first: {% if NAME is defined %}.",
            ) from error
        except jinja2.TemplateError as error:
            raise _failed(self._name, error, str(error)) from error
        except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            # What Jinja lets through when a template adds a number to a text or calls itself for ever.
            raise _failed(self._name, error, f"{type(error).__name__}: {error}") from error
        return user.strip(), "\n\n".join(told).strip()


def compile_prompt(text: str, name: str) -> Prompt:
    """The prompt that `text` is; `name` stands before the line in every message.

    Raises `InputError` with the line for what is not Jinja.
    """
    environment = sandbox(_System, undefined=jinja2.StrictUndefined)
    try:
        variables = jinja2.meta.find_undeclared_variables(environment.parse(text))
        template = environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"{name}:{error.lineno}: {error.message}",
            "A prompt template is Jinja.",
            "Mend that line; a template that works: pumice prompts show qa",
        ) from error
    return Prompt(template, name, frozenset(variables) - set(environment.globals))


def _failed(name: str, error: Exception, reason: str) -> InputError:
    return InputError(
        f"{name}:{_line(error)}: {reason}",
        "The template failed while it was filled in.",
        "Mend that line; a template that works: pumice prompts show qa",
    )


def _line(error: Exception) -> int:
    """The line of the template that an error came from, 1-based."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
    return (lines[-1] if lines else None) or 1
