"""A child process that turns what transformers can read into plain files. Knows nothing of homes, names or the parent.

`python -m pumice.bases.unpack MODEL.gguf DEST` leaves a whole base in DEST; with a folder instead of a GGUF it leaves
the `tokenizer.json` and the full `config.json` that the folder lacks. A failure ends with its reason on the last line.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import transformers


def unpack(source: Path, target: Path) -> None:
    """Write the GGUF's weights (fp32), config, tokenizer and chat template to `target`."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype="float32", local_files_only=True
    )
    # The weights are plain numbers now; left in place, these would make transformers refuse to save and to train.
    if "quantization_config" in model.config.__dict__:
        del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    model.save_pretrained(target)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    tokenizer.save_pretrained(target)
    _clean(target / "config.json", "_name_or_path", "_model_name_or_path")
    _clean(target / "tokenizer_config.json", "is_local", "local_files_only", "name_or_path")


def complete(source: Path, target: Path) -> None:
    """Write the `tokenizer.json` and the config with every default filled in to `target`."""
    transformers.AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(target)
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=True)
    text = config.get_text_config()
    # Older families call these n_embd, n_layer …; transformers answers to the usual names as well.
    sizes = {
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_hidden_layers,
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.max_position_embeddings,
    }
    values = config.to_dict() | ({} if "text_config" in config.to_dict() else sizes)
    (target / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    _clean(target / "tokenizer_config.json", "is_local", "local_files_only", "name_or_path")


def _clean(path: Path, *keys: str) -> None:
    values = json.loads(path.read_text())
    kept = {key: value for key, value in values.items() if key not in keys}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Run as a child: two arguments, nothing on stdout."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    warnings.simplefilter("ignore")
    (unpack if source.is_file() else complete)(source, target)


if __name__ == "__main__":
    main()
