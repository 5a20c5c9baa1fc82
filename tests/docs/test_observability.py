"""The page on metrics names every metric that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pumice.api.aws.cloudwatch import METRICS
from pumice.api.exchange import Exchange
from pumice.api.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def rows(name: str) -> list[list[str]]:
    """The tables of a section, without their heads."""
    lines = [line for line in section(name).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_metric_is_on_the_page_with_its_labels() -> None:
    metrics = Metrics()
    metrics.rooms({"queued": 1}, 0, 0)
    with metrics.generation(Exchange("req-0", operation="chat", model="red@1")):
        pass
    exchange = Exchange("req-1", operation="chat", model="red@1", output_tokens=2, first_after=0.0)
    exchange.said.finish = "stop"
    metrics.answered(exchange, "/chat/completions", "POST", 500)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    there = {f"{each.name}_total" if each.type == "counter" else each.name: each for each in families}
    told = {name: row for row in rows("Metrics") for name in re.findall(r"`([a-z0-9_:]+)`", row[0])}
    assert set(told) == set(there)
    for name, family in there.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert all(f"`{label}`" in section("Metrics") for label in labels), name


def test_every_metric_of_cloudwatch_is_on_the_page_with_its_unit() -> None:
    told = {name: row[1] for row in rows("CloudWatch") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == {name: metric.unit for name, metric in METRICS.items()}
