"""Conversations and text to token ids and back: the only caller of a chat template. Knows no models and no engines."""

from pumice.data.render.decode import Decoder
from pumice.data.render.reader import Reader
from pumice.data.render.renderer import Renderer

__all__ = ["Decoder", "Reader", "Renderer"]
