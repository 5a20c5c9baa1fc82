"""Writes docs/methods.md from what the methods say of themselves: `python scripts/write_methods_page.py`.

A test holds it true.
"""

from __future__ import annotations

from pathlib import Path

from pumice.train import sizes
from pumice.train.methods import METHODS, Objective, Weights

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
HEAD = """# Methods

One key of a recipe, `method`, says how to train. There are two sorts.

- **Weights** say which numbers change; they learn the answers that your data gives.
- **Objectives** say what else there is to learn from. They name the weights that they train in their own table,
  `weights: lora` by default:

```yaml
model: faq@1            # the reference of dpo is where it starts: here your own tuned model
data: choices.jsonl
method: dpo
dpo: {beta: 0.1, weights: lora}
```

The table of those weights, such as `lora: {r: 8}`, may stand beside theirs. It is for new adapters: one that goes on,
as here, keeps its own knobs ([`start`](training.md#the-keys-of-a-recipe)).

| you have | take |
|---|---|
| questions and answers | [prompting](prompting.md) first; then [lora](methods/lora.md) |
| a GPU that the base only just fits | [qlora](methods/qlora.md) |
| documents of a domain | [cpt](methods/cpt.md), then lora with questions |
| texts with labels | [head](methods/head.md) |
| pairs of a better and a worse answer | [dpo](methods/dpo.md); [orpo](methods/orpo.md) on a bare base |
| thumbs up and down | [kto](methods/kto.md) |
| a program that can tell a good answer | [rlhf](methods/rlhf.md) |
| people who can tell, and many prompts | [reward](methods/reward.md), then rlhf against it |
| a large model that is too dear to serve | [distill](methods/distill.md) |
| a language or notation that no base knows, and very much text | [pretrain](methods/pretrain.md) |

`pumice methods` prints the table below. `make bench` runs each recipe and draws its curve: `pretrain` makes a new
model, and all others start from the default base; `qlora` is left out where there is no GPU.

There is no method `adapter` (the bottleneck layers of Houlsby et al. 2019, arXiv:1902.00751): peft has none in the
version that Pumice is pinned to, 0.21.

"""


def page() -> str:
    """The whole page."""
    rows = ["| method | reads | trains | answers through | memory | paper |", "|---|---|---|---|---:|---|"]
    for name, method in METHODS.items():
        engines = ", ".join(sorted(method.servable_by)) if issubclass(method, Weights) else "as its weights"
        served = "transformers" if method.classifier else engines
        cells = (f"[`{name}`](methods/{name}.md)", ", ".join(sorted(method.kinds)), method.trains, served)
        rows.append(f"| {' | '.join(cells)} | {sizes.factor(method):.1f} | {method.paper} |")
    objectives = ", ".join(f"`{name}`" for name, method in METHODS.items() if issubclass(method, Objective))
    return HEAD + "\n".join(rows) + f"\n\nObjectives: {objectives}.\n\n{sizes.FACTOR_MEANS}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
