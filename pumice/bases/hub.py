"""A model repository of the Hugging Face hub as plain files. Knows nothing of what is made of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pumice.bases.describe import check_names
from pumice.errors import InputError, NotFoundError, UnavailableError

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
_UNWANTED = ["*/*", "consolidated*"]


def download(repository: str, revision: str | None, cache: Path, target: Path) -> str:
    """Put the files of `repository` into `target`; the commit they are of is returned.

    What an interrupted download got stays in `cache` and is not loaded twice. Raises `NotFoundError` for an unknown id
    or revision, `InputError` for a gated one or a pickle, `UnavailableError` when the hub cannot be reached.
    """
    try:
        info = HfApi().model_info(repository, revision=revision)
        commit = str(info.sha)
        check_names(repository, [each.rfilename for each in info.siblings or []])
        found = snapshot_download(
            repository, revision=commit, cache_dir=cache, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
        )
    except GatedRepoError as error:
        raise InputError(
            f"{repository} is given only to those who accepted its licence.",
            "The hub did not recognise you as one of them.",
            "Accept the licence on the model's page, then set HF_TOKEN to a token of yours.",
        ) from error
    except RepositoryNotFoundError as error:
        raise NotFoundError(
            f"The hub has no model {repository}.",
            "It may be misspelt, or private and not yours.",
            "`pumice models catalogue` lists known ids; for a private model set HF_TOKEN.",
        ) from error
    except RevisionNotFoundError as error:
        raise NotFoundError(f"{repository} has no revision {revision}.", "", "Name a branch, tag or commit.") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, HTTPError) as error:
        raise UnavailableError(
            f"{repository} is not on this machine and the hub cannot be reached.",
            (str(error).splitlines() or [type(error).__name__])[0],
            "Connect to the network once, or name a folder or .gguf file on this disk.",
        ) from error
    for each in Path(found).iterdir():
        # The cache holds links to blobs; the blob itself moves, so nothing lies on the disk twice.
        each.resolve().replace(target / each.name)
    shutil.rmtree(Path(found).parents[1])
    return commit
