"""The adapters of a transformers process: one set of layers for each of peft's types, all over the same weights.

peft refuses two types in one model, and leaves its layers behind in a model that it has adapted. Knows no request.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import PeftConfig, PeftModel


class Adapters:
    """Any number of adapters over one model, which itself is never touched."""

    def __init__(self, bare: Any) -> None:
        self._bare = bare
        self._models: dict[str, PeftModel] = {}
        """By peft's type."""
        self._types: dict[str, str] = {}
        """By the adapter's name."""

    def put(self, name: str, folder: str) -> None:
        """Load the adapter in `folder`, in the place of one of the same name."""
        if name in self._types:
            self.take(name)
        kind = str(PeftConfig.from_pretrained(folder).peft_type)
        model = self._models.get(kind)
        if model is None:
            self._models[kind] = PeftModel.from_pretrained(
                over_the_same_weights(self._bare), folder, adapter_name=name, is_trainable=False
            ).eval()
        else:
            try:
                model.load_adapter(folder, adapter_name=name, is_trainable=False)
            except Exception:
                if name in model.peft_config:
                    model.delete_adapter(name)
                raise
            model.eval()
        self._types[name] = kind

    def take(self, name: str) -> None:
        """Unload the adapter."""
        kind = self._types.pop(name)
        others = [other for other, its in self._types.items() if its == kind]
        if not others:
            # peft's model cannot run without any adapter.
            del self._models[kind]
            return
        self._models[kind].set_adapter(others[0])
        self._models[kind].delete_adapter(name)

    def model(self, name: str | None) -> Any:
        """The model with exactly this adapter; None is the base."""
        if name is None:
            return self._bare
        model = self._models[self._types[name]]
        model.set_adapter(name)
        return model

    def start(self, name: str | None) -> tuple[Any, Any]:
        """The model that reads given tokens one after the other, and its cache of what comes before the first of them.

        A soft prompt is what was read: its vectors, or its keys and values. Then the base reads the rest.
        """
        model = self.model(name)
        if name is None or not model.active_peft_config.is_prompt_learning:
            return model, None
        front = model.get_prompt(1)
        if isinstance(front, torch.Tensor):
            front = self._bare(inputs_embeds=front.to(self._bare.dtype), use_cache=True).past_key_values
        return self._bare, front


def over_the_same_weights(model: Any) -> Any:
    """The model's modules once more, with the very same tensors in them."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
