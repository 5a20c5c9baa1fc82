"""How often, how fast and how many at once, when the recipe does not say: from rows, tokens and the width of the base.

Measured with LoRA r=16 on a base of 135 million parameters: 40 facts in one phrasing are known by heart after 640
visits in 128 steps of 5 rows at 2e-3. The rate falls with the width of the base, and LoRA's is about ten times that of
full training (Thinking Machines 2025, "LoRA Without Regret"). Knows no recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

# A short question with a short answer has about this many tokens; a row twice as long counts as two.
SHORT_ROW = 64
SMALL = 200
TOKENS_AT_ONCE = 4096
# Prompts of one step, where the model writes its own answers to each.
PROMPTS_A_STEP = 4


@dataclass(frozen=True)
class Size:
    """What the defaults follow from."""

    rows: int
    tokens: int
    hidden: int

    @property
    def worth(self) -> float:
        """Rows, counted as short ones."""
        return max(self.rows, self.tokens / SHORT_ROW)

    @property
    def mean(self) -> float:
        """Tokens of a row."""
        return self.tokens / self.rows


def epochs(size: Size) -> tuple[float, str]:
    """From 28 for ten facts over 16 for forty to 1 for tens of thousands of rows."""
    count = float(min(40, max(1, round(16 * (40 / size.worth) ** 0.4))))
    visits = f"{size.rows:,} rows, {size.rows * count:,.0f} visits"
    if size.worth <= SMALL:
        return count, f"{count:g}; so few rows must be seen often to be learned by heart ({visits})"
    return count, f"{count:g}; the more there is to learn from, the less often each row is needed ({visits})"


def few_epochs(size: Size, steps: int) -> tuple[float, str]:
    """What makes about `steps` steps of a few prompts each, and no more than `epochs`."""
    a_step = min(PROMPTS_A_STEP, size.rows)
    count = min(steps * a_step / size.rows, epochs(size)[0])
    count = float(int(count)) if count >= 1 else float(f"{count:.2g}")
    made = max(1, round(size.rows * count / a_step))
    return count, f"{count:g}; about {made} steps of {a_step} prompts, as the model writes its answers in each"


def few_at_once(size: Size, held: float) -> tuple[int, int, str]:
    """Prompts at once and batches a step: a few prompts, each of which takes `held` tokens with its answers."""
    a_step = min(PROMPTS_A_STEP, size.rows)
    fitting = max(1, min(a_step, int(TOKENS_AT_ONCE / held)))
    at_once = next(count for count in range(fitting, 0, -1) if a_step % count == 0)
    return (
        at_once,
        a_step // at_once,
        f"{at_once} prompts of about {held:,.0f} tokens with their answers, {a_step} a step",
    )


def learning_rate(size: Size, rate: float, method: str) -> tuple[float, str]:
    """`rate` for few rows at hidden size 576; less for wider bases and, down to a quarter, for more rows."""
    width = (576 / size.hidden) ** 0.75
    amount = min(1.0, max(0.25, (SMALL / size.worth) ** 0.35))
    value = float(f"{rate * width * amount:.2g}")
    return value, f"{value:g}, falling to 0; for {method} on a base of width {size.hidden:,} and {size.rows:,} rows"


def batch(size: Size, epoch_count: float, steps_wanted: int) -> tuple[int, int, str]:
    """Rows at once and batches a step: about `steps_wanted` steps or more, 16 rows a step, 4,096 tokens in memory."""
    a_step = min(8 if size.worth < 1000 else 16, max(2, int(size.rows * epoch_count / steps_wanted)))
    at_once = max(1, min(a_step, int(TOKENS_AT_ONCE / size.mean)))
    accumulation = max(1, round(a_step / at_once))
    steps = max(1, round(size.rows * epoch_count / (at_once * accumulation)))
    return (
        at_once,
        accumulation,
        f"{at_once} rows of about {size.mean:,.0f} tokens, {at_once * accumulation} a step: {steps:,} steps",
    )
