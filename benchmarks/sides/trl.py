"""TRL's trainer, a step at a time: `python -m benchmarks.sides.trl ORDER` (JSON: see `benchmarks.training`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.sides.gate import Gate
from benchmarks.sides.turns import Turns


def main() -> None:
    """Train with what `order["settings"]` adds to TRL's own; the adapter ends in `out`."""
    order = json.loads(sys.argv[1])
    gate = Gate()
    chats = [json.loads(line)["messages"] for line in Path(order["rows"]).read_text("utf-8").splitlines()]
    rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
    adapter = LoraConfig(r=order["r"], lora_alpha=2 * order["r"], target_modules="all-linear", task_type="CAUSAL_LM")
    settings = {
        "output_dir": order["out"],
        "max_steps": order["steps"],
        "per_device_train_batch_size": order["batch"],
        "learning_rate": order["rate"],
        "max_length": order["length"],
        "seed": order["seed"],
        "data_seed": order["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "include_num_input_tokens_seen": "non_padding",
        "use_cpu": True,
    }
    arguments = SFTConfig(**{**settings, **order["settings"]})
    trainer = SFTTrainer(
        order["base"], arguments, train_dataset=Dataset.from_list(rows), peft_config=adapter, callbacks=[Turns(gate)]
    )
    trainer.train()
    trainer.save_model(order["out"])
    gate.tell(adapter=order["out"])


if __name__ == "__main__":
    main()
