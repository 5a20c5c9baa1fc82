"""What a customization job leaves in S3: its loss curve and its losses on validation rows, as Bedrock writes them.

Does not know jobs; writing the same things twice changes nothing.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

import orjson

from pumice.api.aws.bedrock.orders import Order
from pumice.api.platform import Platform
from pumice.api.training import Step, Story
from pumice.store.s3 import Objects

TRAINING = "training_artifacts"
VALIDATION = "validation_artifacts/post_fine_tuning_validation/validation"
_COLUMNS = ("step_number", "epoch_number", "training_loss", "perplexity")
_VALIDATION_COLUMNS = ("step_number", "epoch_number", "validation_loss", "perplexity")
_MOST_NATS = 700
"""Beyond it the perplexity is no number any more."""


def keep(platform: Platform, order: Order, story: Story) -> None:
    """Put the files below `outputDataConfig.s3Uri`, in a folder of the job's own."""
    top = f"{order.request['outputDataConfig']['s3Uri'].rstrip('/')}/model-customization-job-{order.id}"
    objects = Objects(platform.home.s3)
    objects.put(f"{top}/{TRAINING}/step_wise_training_metrics.csv", training_csv(story.steps))
    if story.report and story.steps:
        loss = story.report["tuned"]["loss"]
        # A classifier has none: its accuracy is in the report.
        if loss is not None:
            objects.put(f"{top}/{VALIDATION}/validation_metrics.csv", validation_csv(story.steps[-1], loss))
        objects.put(f"{top}/{VALIDATION}/report.json", orjson.dumps(story.report, option=orjson.OPT_INDENT_2))


def training_csv(steps: Sequence[Step]) -> bytes:
    """A line a step; epochs are counted from 0, as Bedrock counts them."""
    rows = ((each.step, _epoch(each), each.loss, _perplexity(each.loss)) for each in steps)
    return _csv(_COLUMNS, rows)


def validation_csv(last: Step, loss: float) -> bytes:
    """One line: validation comes after the last step."""
    return _csv(_VALIDATION_COLUMNS, [(last.step, _epoch(last), loss, _perplexity(loss))])


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _epoch(step: Step) -> int:
    """The epoch that a step is in; the last step of one ends exactly at a whole number."""
    return max(math.ceil(step.epoch) - 1, 0)


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, _MOST_NATS))
