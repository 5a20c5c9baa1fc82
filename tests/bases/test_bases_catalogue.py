"""The catalogue says what is true where that can be checked here, and its names can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.bases.catalogue import CATALOGUE
from pumice.bases.resolve import _HUB_ID, DEFAULT, resolve
from pumice.config import Home
from pumice.data.render.template import PLAIN
from pumice.errors import NotFoundError
from pumice.records import Base


def test_the_first_entry_is_the_default_as_it_is_on_disk(base: Base) -> None:
    entry = CATALOGUE[0]
    assert entry.id == base.name == DEFAULT
    said = (entry.parameters, entry.hidden_size, entry.layers, entry.vocabulary, entry.window)
    assert said == (base.parameters, base.hidden_size, base.layers, base.vocabulary, base.window)


def test_the_other_entries_are_hub_ids_named_once() -> None:
    assert all(_HUB_ID.fullmatch(entry.id) for entry in CATALOGUE[1:])
    assert len({entry.id for entry in CATALOGUE}) == len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)


def test_every_entry_has_the_weights_that_its_sizes_need() -> None:
    for entry in CATALOGUE:
        # Embeddings and, a layer, about twelve squares of the width: wrong digits fall out of this wide a range.
        rough = entry.vocabulary * entry.hidden_size + 12 * entry.layers * entry.hidden_size**2
        assert 0.5 < entry.parameters / rough < 2.2, entry.id


def test_a_family_of_the_issue_is_not_forgotten() -> None:
    names = " ".join(entry.name for entry in CATALOGUE)
    families = ["SmolLM2 135M", "SmolLM2 360M", "SmolLM2 1.7B", "TinyLlama 1.1B", "Llama 3", "Mistral 7B", "Qwen 2.5"]
    assert all(each in names for each in [*families, "Qwen 3", "Gemma 3", "Dolly v2 3B", "Falcon", "Phi"])


@pytest.mark.parametrize(("typo", "meant"), [("smolm2-360m", "SmolLM2-360M-Instruct"), ("phi2", "microsoft/phi-2")])
def test_a_name_that_is_close_to_a_known_one_is_asked_about(home: Home, typo: str, meant: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve(typo, home)
    assert meant in caught.value.fix
    assert "Hugging Face id" in caught.value.why


def test_the_page_lists_the_catalogue_and_the_plain_template() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bases.md").read_text()
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 7]
    assert listed[1:] == [entry.id for entry in CATALOGUE]
    assert PLAIN in page
