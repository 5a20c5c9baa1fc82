"""A chat template as the field writes them: sandboxed Jinja, with the names that templates expect. Knows no tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NoReturn

import jinja2
import jinja2.nodes
import jinja2.utils
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pumice.errors import InputError
from pumice.records import Turn

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""What stands in for a base that has no chat template."""

CONTENTS = "{% for message in messages %}{{ message.content }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
"""What stands in for a seq2seq base: it reads plain instructions, without names of roles."""

THE_DAY = date(2024, 7, 26)
"""What templates are told today is: a true date would make tomorrow's prompts other ids than those trained today.

This one stands in the Llama 3 templates for callers that give none."""


class _Generation(Extension):
    """Accepts `{% generation %}…{% endgeneration %}`, which some templates put around answers, and renders its body."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace without underscore names: a template off the hub is a stranger's code."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        for name, value in values.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace cannot hold {name!r}")
        super().__setitem__(name, value)


def sandbox(
    *extensions: type[Extension], undefined: type[jinja2.Undefined] = jinja2.Undefined
) -> ImmutableSandboxedEnvironment:
    """Jinja in which a template can neither change what it is given nor reach anything else."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[*extensions, loopcontrols], undefined=undefined
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        namespace=_Namespace,
        raise_exception=_refuse,
        strftime_now=THE_DAY.strftime,
    )
    return environment


def compile_template(text: str, names: Mapping[str, str]) -> Callable[[Sequence[Turn], Sequence[Any], bool], str]:
    """A function of (messages, tools, add_generation_prompt) that renders `text`; `names` are the special tokens.

    Raises `InputError` for a template that is not Jinja; the function raises it with the template's own message when
    the template refuses a conversation.
    """
    environment = sandbox(_Generation)
    try:
        template = environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"The base's chat template cannot be read: line {error.lineno}: {error.message}",
            "A chat template is Jinja.",
            "Take the template from the base's own page.",
        ) from error

    def render(messages: Sequence[Turn], tools: Sequence[Any], add_generation_prompt: bool) -> str:
        try:
            return template.render(
                messages=list(messages),
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **names,
            )
        except jinja2.TemplateError as error:
            raise _refused(str(error)) from error
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            # What Jinja lets through when a template adds text to a None or divides by an empty list.
            raise _refused(f"{type(error).__name__}: {error}") from error

    return render


def _refused(reason: str) -> InputError:
    return InputError(
        f"The base's chat template refuses this conversation: {reason}",
        "Every base has its own rules for roles and their order.",
        "Change the conversation, or take a base whose template allows it.",
    )


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
