"""Conversations and text to token ids and back: the only caller of a chat template. Knows no models and no engines."""

from pumice.data.render.decode import Decoder
from pumice.data.render.reader import Reader
from pumice.data.render.renderer import Renderer
from pumice.data.render.tokenizer import same_tokens

__all__ = ["Decoder", "Reader", "Renderer", "same_tokens"]
