"""ARNs and ids of models, both ways. Knows no service's behaviour.

One account and one region, as one machine has neither.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from pumice.bases.catalogue import CATALOGUE, EMBEDDERS, Entry
from pumice.records import Model
from pumice.registry.models import Registry

ACCOUNT = "000000000000"
REGION = "us-east-1"


def arn(service: str, resource: str) -> str:
    """`arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def resource(name: str) -> str:
    """What stands behind the account in an ARN (`custom-model/…`), and any other name as it is."""
    return name.split(":", 5)[5] if name.startswith("arn:") and name.count(":") >= 5 else name


def tail(name: str) -> str:
    """What stands behind the last slash of an ARN, and any other name as it is."""
    return resource(name).rsplit("/", 1)[-1] if name.startswith("arn:") else name


def short_id(text: str) -> str:
    """Twelve characters that ARNs of Bedrock end with, always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Bedrock's ids begin with the provider: catalogue owners under the names that providers have there.
PROVIDERS: Mapping[str, str] = {
    "": "Pumice",
    "HuggingFaceTB": "Hugging Face",
    "TinyLlama": "TinyLlama",
    "meta-llama": "Meta",
    "mistralai": "Mistral AI",
    "Qwen": "Qwen",
    "google": "Google",
    "databricks": "Databricks",
    "tiiuae": "TII",
    "microsoft": "Microsoft",
}


def provider(entry: Entry) -> str:
    """Who made a base of the catalogue, as Bedrock names providers; Pumice for those that it brings along itself."""
    owner = entry.id.rpartition("/")[0]
    return PROVIDERS.get(owner, owner)[:20]


def foundation_id(entry: Entry) -> str:
    """A catalogue id in Bedrock's form: `qwen.qwen3-0-6b` for `Qwen/Qwen3-0.6B`."""
    maker = slug(provider(entry).removesuffix(" AI")).replace("-", "")
    return f"{maker}.{slug(_short(entry.id))}"


def find_entry(identifier: str) -> Entry | None:
    """The base of the catalogue that a catalogue id, a foundation model id or its ARN names."""
    wanted = resource(identifier).removeprefix("foundation-model/")
    return next((each for each in (*CATALOGUE, *EMBEDDERS) if wanted in (each.id, foundation_id(each))), None)


def base_arn(base: str, registry: Registry) -> str:
    """The ARN of what a version was trained on: a base, or another version that was made one."""
    if "@" in base and (version := find_version(base, registry)):
        return custom_arn(version)
    entry = find_entry(base)
    id = foundation_id(entry) if entry else f"pumice.{slug(_short(base))}"
    return f"arn:aws:bedrock:{REGION}::foundation-model/{id}"


def custom_arn(model: Model) -> str:
    """`custom-model/BASE.NAME:VERSION/ID`; the id is made from name and version, so the ARN is always the same."""
    name = f"{slug(_short(model.base))}.{slug(model.name)}:{model.version}"
    return arn("bedrock", f"custom-model/{name}/{short_id(model.id)}")


def imported_arn(model: Model) -> str:
    """The ARN that import jobs speak of."""
    return arn("bedrock", f"imported-model/{short_id(model.id)}")


def find_version(identifier: str, registry: Registry) -> Model | None:
    """The registered version that `name`, `name@version`, a custom model's ARN or an imported model's ARN names.

    A name alone is its production version, or else its newest. None for what is no version, a base for example.
    """
    kind, _, rest = resource(identifier).partition("/")
    if not identifier.startswith("arn:"):
        return registry.find(identifier) if _is_version(identifier, registry) else None
    if kind not in ("custom-model", "imported-model"):
        return None
    # Most names stand in their ARN as they are, which saves reading every version.
    named = _VERSION.fullmatch(rest)
    guess = f"{named[1]}@{named[2]}" if named else ""
    id = rest.rpartition("/")[2]
    if named and short_id(guess) == id:
        return registry.find(guess) if _is_version(guess, registry) else None
    return next((each for each in registry.list() if short_id(each.id) == id), None)


def slug(text: str) -> str:
    """Text as a part of an id of Bedrock: small letters, digits and dashes, 63 at most."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "model"


_VERSION = re.compile(r"[^/]*?\.([^/.:]+):(\d{1,9})/[0-9a-f]{12}")


def _is_version(name: str, registry: Registry) -> bool:
    if not registry.has(name):
        return False
    bare, at, number = name.partition("@")
    return not at or any(str(each.version) == number for each in registry.list(bare))


def _short(id: str) -> str:
    """A base's id without its owner and its commit."""
    return id.rpartition("/")[2].partition("@")[0]
