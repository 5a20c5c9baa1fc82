"""What answers, as files in S3: chosen for a model, named by its content, made and sent once."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pumice.bases import resolve
from pumice.bases.classifiers import find_labels
from pumice.bases.seq2seq import is_seq2seq
from pumice.config import Home
from pumice.deploy.aws.account import missing
from pumice.deploy.aws.template import short_hash
from pumice.deploy.sagemaker.images import Engine
from pumice.engine import adapter, gguf, lora, merge
from pumice.errors import InputError
from pumice.records import Base, Model
from pumice.registry.export import write, write_whole
from pumice.registry.models import Registry
from pumice.registry.start import base_of
from pumice.store.files import sha256_folder_weights

BYTES: dict[Engine, float] = {"llama.cpp": 1.08, "vllm": 2.0, "pumice": 4.0}
"""Of a weight in memory: 8 bits with their scales, bf16, fp32."""


RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The greatest rank of an adapter, as vLLM takes it."""


@dataclass(frozen=True)
class Subject:
    """A registered version, or a base as it is."""

    id: str
    base: Base
    model: Model | None = None

    @property
    def folder(self) -> Path:
        """Its own files."""
        return self.model.folder if self.model else self.base.folder

    @property
    def whole(self) -> Path:
        """A folder that says what the whole model is like."""
        return self.base.folder if self.model and self.model.adapter else self.folder


def find(name: str, registry: Registry, home: Home) -> Subject:
    """Raises `NotFoundError`."""
    if registry.has(name):
        model = registry.find(name)
        return Subject(model.id, base_of(model, registry, home), model)
    return Subject(name, resolve.resolve(name, home))


def several(models: Sequence[str], registry: Registry, home: Home) -> tuple[Subject, tuple[Subject, ...]]:
    """The base that all of them change, and each of them. Raises `InputError` for what cannot share one."""
    found = tuple(find(each, registry, home) for each in models)
    for each in found:
        reason = lora.more_than_pairs(each.folder) if each.model and each.model.adapter else "it is a whole model"
        if reason or each.base.sha256 != found[0].base.sha256:
            raise InputError(
                f"{each.id} cannot share a machine with {found[0].id}: {reason or 'its base is another one'}.",
                "Several versions are served as LoRA adapters over one base.",
                "Deploy it alone, under its own --name: it is merged then.",
            )
    return Subject(found[0].base.name, found[0].base), found


def special(subject: Subject) -> bool:
    """Whether only Pumice itself answers with it."""
    model = subject.model
    if model and model.adapter and merge.why_not(model.folder):
        return True
    return find_labels(subject.whole) is not None or is_seq2seq(subject.whole)


def choose(subject: Subject, gpu: bool, image: str | None) -> Engine:
    """What answers with it on such a machine. A user's own image is taken for one with Pumice in it."""
    if image or special(subject):
        return "pumice"
    if gpu:
        return "vllm"
    return "llama.cpp" if gguf.can_convert(subject.whole) is None else "pumice"


def needs(subject: Subject, engine: Engine) -> float:
    """GB of memory: weights, 4,096 tokens of keys and values for four callers, and the program."""
    base = subject.base
    seen = 4 * 4096 * 2 * base.layers * base.hidden_size * 2
    return (base.parameters * BYTES[engine] + seen) / 1e9 + (2.0 if engine == "vllm" else 0.7)


def weigh(adapters: Sequence[Subject]) -> float:
    """GB of memory for their weights."""
    return sum((each.folder / adapter.WEIGHTS).stat().st_size for each in adapters) / 1e9


def address(subject: Subject, engine: Engine, bucket: str) -> str:
    """Where it lies in S3: the same content, the same address."""
    own = sha256_folder_weights(subject.folder)
    name = subject.id.replace("@", "-").replace("/", "-").lower()
    key = f"models/{name}-{engine.replace('.', '')}-{short_hash([own, subject.base.sha256])}"
    return f"s3://{bucket}/{key}/" if engine == "vllm" else f"s3://{bucket}/{key}/model.tar.gz"


def adapter_address(subject: Subject, bucket: str) -> str:
    """Of an adapter alone."""
    return address(subject, "pumice", bucket).replace("-pumice-", "-adapter-")


def send(lay: Callable[[Path], None], address: str, s3: Any, scratch: Path, tell: Callable[[str], None]) -> None:
    """Have `lay` make the files; put them to `address` unless they are there. The marker is last: half is nothing."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    marker = f"{key.rstrip('/')}.complete"
    if there(s3, bucket, marker):
        tell(f"  {address} is there already")
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        made = Path(folder) / "made"
        lay(made)
        if key.endswith("/"):
            for path in sorted(made.rglob("*")):
                if path.is_file():
                    s3.upload_file(str(path), bucket, key + path.relative_to(made).as_posix())
        else:
            archive = Path(folder) / "model.tar.gz"
            # Weights do not shrink; the least effort is the most that is worth it.
            with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
                for path in sorted(made.iterdir()):
                    packed.add(path, path.name)
            s3.upload_file(str(archive), bucket, key)
    s3.put_object(Bucket=bucket, Key=marker, Body=b"")
    tell(f"  {address} is sent")


def there(s3: Any, bucket: str, key: str) -> bool:
    """Whether an object exists."""
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return True


def lay(subject: Subject, engine: Engine, out: Path) -> None:
    """The files as their engine finds them in /opt/ml/model."""
    model, base = subject.model, subject.base
    if engine == "llama.cpp":
        out.mkdir()
        if model:
            write(model, base, "gguf-q8_0", out / "model.gguf")
        else:
            gguf.write_model(base.folder, out / "model.gguf", "q8_0")
    elif engine == "vllm":
        if model:
            write_whole(model, base, out)
        else:
            shutil.copytree(base.folder, out)
    else:
        # Pumice's own container takes an adapter over its base, as the registry has them.
        shutil.copytree(subject.whole, out / "base")
        if model and model.adapter:
            shutil.copytree(model.folder, out / "model")


def lay_adapter(subject: Subject, out: Path) -> None:
    """An adapter alone, as whatever holds its base loads it."""
    shutil.copytree(subject.folder, out)


def rank(subject: Subject) -> int:
    """An adapter's, among those that vLLM can be told."""
    wanted = int(adapter.read_config(subject.folder)["r"])
    return next(each for each in RANKS if each >= wanted or each == RANKS[-1])
