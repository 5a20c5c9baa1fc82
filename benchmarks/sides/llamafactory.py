"""LLaMA-Factory, a step at a time, in its own environment: `python -m benchmarks.sides.llamafactory ORDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llamafactory.train.tuner import run_exp

from benchmarks.sides.gate import Gate
from benchmarks.sides.turns import Turns

TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def main() -> None:
    """Train with LLaMA-Factory's defaults; the adapter ends in `out`."""
    order = json.loads(sys.argv[1])
    gate = Gate()
    rows, out = Path(order["rows"]), Path(order["out"])
    described = {"file_name": rows.name, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS}
    (rows.parent / "dataset_info.json").write_text(json.dumps({"rows": described}))
    settings = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": order["r"],
        "lora_alpha": 2 * order["r"],
        "lora_target": "all",
        "model_name_or_path": order["base"],
        "template": "smollm2",
        "dataset": "rows",
        "dataset_dir": str(rows.parent),
        "cutoff_len": order["length"],
        "output_dir": str(out),
        "max_steps": order["steps"],
        "per_device_train_batch_size": order["batch"],
        "learning_rate": order["rate"],
        "seed": order["seed"],
        "data_seed": order["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "include_num_input_tokens_seen": "non_padding",
        "use_cpu": True,
    }
    run_exp({**settings, **order["settings"]}, callbacks=[Turns(gate)])
    gate.tell(adapter=str(out))


if __name__ == "__main__":
    main()
