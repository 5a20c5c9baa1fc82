"""A base from nothing: the same one for the same text, whole for every library, and forecasts from three short runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pumice.data.render import Renderer
from pumice.engine import gguf
from pumice.errors import InputError
from pumice.records import Base, Example
from pumice.train import scaling, scratch
from pumice.train.instances import INSTANCES, REACHED
from pumice.train.methods import Pretrain
from pumice.train.recipe import make_recipe
from pumice.train.scaling import Point
from pumice.train.scratch import SHAPES

DOMAIN = Path(__file__).parents[2] / "recipes" / "data" / "domain.md"
KNOBS = Pretrain(size="1M", vocabulary=600)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return scratch.new_base(KNOBS, 64, 3, [DOMAIN.read_text()], tmp_path_factory.mktemp("new") / "base")


def test_another_process_makes_the_same_base(new: Base, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from pumice.train import scratch; from pumice.train.methods import Pretrain;"
        "knobs = Pretrain(size='1M', vocabulary=600);"
        "scratch.new_base(knobs, 64, 3, [Path(sys.argv[1]).read_text()], Path(sys.argv[2]));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(DOMAIN), str(tmp_path / "base")], check=True)
    for name in ("tokenizer.json", "config.json", "model.safetensors", "tokenizer_config.json"):
        assert (tmp_path / "base" / name).read_bytes() == (new.folder / name).read_bytes(), name
    other = scratch.new_base(KNOBS, 64, 4, [DOMAIN.read_text()], tmp_path / "other")
    assert other.sha256 != new.sha256


def test_transformers_loads_it_and_counts_the_same(new: Base) -> None:
    loaded: Any = AutoModelForCausalLM.from_pretrained(new.folder, output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    numbers = sum(each.numel() for each in model.parameters())
    assert numbers == new.parameters == SHAPES["1M"].parameters(new.vocabulary)
    assert new.vocabulary == 600 and new.window == 64
    # Random weights know nothing: every token is about as likely as any other.
    ids = torch.tensor([Renderer(new.folder).encode("A keeper waters twice in a watch.")])
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
    assert loss == pytest.approx(math.log(new.vocabulary), rel=0.05)


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_sizes_are_what_they_are_called(name: str, shape: scratch.Shape) -> None:
    assert shape.parameters(8192) == pytest.approx(float(name.removesuffix("M")) * 1e6, rel=0.04)
    assert shape.hidden % shape.heads == 0
    # Quantised weights come in blocks of 32.
    assert shape.hidden % 32 == 0 and shape.feed_forward % 32 == 0


def test_the_tokenizer_writes_every_text_and_is_one_for_all_libraries(new: Base) -> None:
    renderer, theirs = Renderer(new.folder), AutoTokenizer.from_pretrained(new.folder)
    for text in ("lantern moss", "Zürich, 1984: 日本 🏔\n\n  x", "", " a  b"):
        ids = renderer.encode(text)
        assert ids == theirs.encode(text)
        assert renderer.decode(ids) == text
    row = renderer.train(Example(1, text="Moss."))
    begin, end = row.ids[0], row.ids[-1]
    assert row.labels[0] == -100 and row.labels[-1] == end == renderer.stop_ids[0] != begin
    # The domain's own words are few tokens.
    assert len(renderer.encode(" lantern moss")) - 1 <= 4
    assert gguf.can_convert(new.folder) is None


def test_what_a_model_was_before_its_training_can_be_made_again(new: Base, tmp_path: Path) -> None:
    again = scratch.untrained(KNOBS, 3, new.folder, tmp_path / "again")
    assert (again.sha256, again.source) == (new.sha256, "new:1M")


@pytest.mark.parametrize(("key", "value"), [("model", "some/base"), ("start", "merge")])
def test_pretrain_starts_from_nothing(key: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe({"data": "x.txt", "method": "pretrain", key: value})
    assert f"{key} is {value}; method: pretrain makes a new model and starts from none" in caught.value.why


def on_law(floor: float, a: float, exponent: float, sizes: tuple[int, ...]) -> list[Point]:
    return [Point(size, floor + a * size**-exponent, 100.0) for size in sizes]


def test_a_law_with_a_floor_is_found_where_there_is_one() -> None:
    found = scaling.forecast(on_law(2.0, 40.0, 0.25, (2500, 5100, 9900)), 1_000_000)
    assert found
    assert found.loss == pytest.approx(2.0 + 40.0 * 1_000_000**-0.25, rel=1e-6)
    assert found.law == "2.00 + 40.0 * tokens^-0.250"
    # Two points alone promise more, as they see no floor; so much may it be wrong to the other side too.
    pairs = [scaling.forecast(on_law(2.0, 40.0, 0.25, sizes), 1_000_000) for sizes in ((2500, 5100), (5100, 9900))]
    assert found.low == pytest.approx(min(each.loss for each in pairs if each))
    assert found.high - found.loss == pytest.approx(found.loss - found.low)


def test_without_a_floor_the_range_holds_every_pair_of_points() -> None:
    points = [Point(2500, 8.0, 1.0), Point(5000, 7.5, 1.0), Point(10_000, 6.8, 1.0)]
    found = scaling.forecast(points, 1_000_000)
    assert found and found.law.count("tokens") == 1 and "+" not in found.law
    pairs = [scaling.forecast([points[i], points[j]], 1_000_000) for i, j in ((0, 1), (1, 2))]
    assert found.low <= min(each.loss for each in pairs if each) < found.loss
    assert found.loss < max(each.loss for each in pairs if each) <= found.high <= 6.8


def test_losses_that_do_not_fall_foretell_nothing() -> None:
    assert scaling.forecast([Point(10, 5.0, 1.0), Point(20, 5.1, 1.0), Point(40, 4.9, 1.0)], 1000) is None


def test_hours_and_money_follow_from_speed_and_operations() -> None:
    points = on_law(0.0, 40.0, 0.2, (25_000, 50_000, 100_000))
    found = scaling.probe(9.0, points, 10_000_000, 50_000_000)
    here, *rented = found.costs
    assert (here.machine, here.dollars) == ("this machine", None)
    assert here.hours == pytest.approx(10_000_000 / 100 / 3600)
    for cost, instance in zip(rented, INSTANCES, strict=True):
        hours = 6 * 50e6 * 10e6 / (instance.peak * REACHED) / 3600
        assert cost.hours == pytest.approx(hours)
        assert cost.dollars == pytest.approx(hours * instance.price)
    assert found.warning == ""
    assert scaling.Probe.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "too few for more than a rough guess" in scaling.probe(9.0, points, 100_000, 1000).warning
