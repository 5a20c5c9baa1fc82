"""Bases that are known to work, with the facts a choice needs. Knows nothing of this machine or of what is on disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One known base, as its config and card say. Any other id works too."""

    id: str
    """What a recipe's `model:` takes."""
    name: str
    parameters: int
    """Weights, tied ones once."""
    hidden_size: int
    layers: int
    vocabulary: int
    window: int
    """Tokens it can see at once, without the stretching that a few cards describe."""
    licence: str
    template: str
    """Family of its chat template; `plain` where it has none."""
    modality: str = "text"
    """What it reads; all of them write text, and are trained on text."""


# fmt: off
CATALOGUE: tuple[Entry, ...] = (
    Entry("smollm2-135m-instruct-q4_1", "SmolLM2 135M Instruct, 4-bit",
          134_515_008, 576, 30, 49_152, 8_192, "Apache-2.0", "ChatML"),
    Entry("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2 135M Instruct",
          134_515_008, 576, 30, 49_152, 8_192, "Apache-2.0", "ChatML"),
    Entry("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2 360M Instruct",
          361_821_120, 960, 32, 49_152, 8_192, "Apache-2.0", "ChatML"),
    Entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", "SmolLM2 1.7B Instruct",
          1_711_376_384, 2_048, 24, 49_152, 8_192, "Apache-2.0", "ChatML"),
    Entry("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "TinyLlama 1.1B Chat",
          1_100_048_384, 2_048, 22, 32_000, 2_048, "Apache-2.0", "Zephyr"),
    Entry("meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 1B Instruct",
          1_235_814_400, 2_048, 16, 128_256, 131_072, "Llama 3.2 Community", "Llama 3"),
    Entry("meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2 3B Instruct",
          3_212_749_824, 3_072, 28, 128_256, 131_072, "Llama 3.2 Community", "Llama 3"),
    Entry("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 8B Instruct",
          8_030_261_248, 4_096, 32, 128_256, 131_072, "Llama 3.1 Community", "Llama 3"),
    Entry("mistralai/Mistral-7B-Instruct-v0.3", "Mistral 7B Instruct v0.3",
          7_248_023_552, 4_096, 32, 32_768, 32_768, "Apache-2.0", "Mistral"),
    Entry("Qwen/Qwen2.5-0.5B-Instruct", "Qwen 2.5 0.5B Instruct",
          494_032_768, 896, 24, 151_936, 32_768, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen2.5-1.5B-Instruct", "Qwen 2.5 1.5B Instruct",
          1_543_714_304, 1_536, 28, 151_936, 32_768, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen2.5-7B-Instruct", "Qwen 2.5 7B Instruct",
          7_615_616_512, 3_584, 28, 152_064, 32_768, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen3-0.6B", "Qwen 3 0.6B",
          596_049_920, 1_024, 28, 151_936, 40_960, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen3-1.7B", "Qwen 3 1.7B",
          1_720_574_976, 2_048, 28, 151_936, 40_960, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen3-4B", "Qwen 3 4B",
          4_022_468_096, 2_560, 36, 151_936, 40_960, "Apache-2.0", "ChatML"),
    Entry("Qwen/Qwen3-8B", "Qwen 3 8B",
          8_190_735_360, 4_096, 36, 151_936, 40_960, "Apache-2.0", "ChatML"),
    Entry("google/gemma-3-270m-it", "Gemma 3 270M",
          268_098_176, 640, 18, 262_144, 32_768, "Gemma", "Gemma"),
    Entry("google/gemma-3-1b-it", "Gemma 3 1B",
          999_885_952, 1_152, 26, 262_144, 32_768, "Gemma", "Gemma"),
    Entry("google/gemma-3-4b-it", "Gemma 3 4B",
          4_300_079_472, 2_560, 34, 262_208, 131_072, "Gemma", "Gemma", "text and images"),
    # Its main branch holds a pickle only; this commit in the same repository adds the safetensors.
    Entry("databricks/dolly-v2-3b@01da2f90559f13cf1849b16f51a9fd52e70d406c", "Dolly v2 3B",
          2_775_086_080, 2_560, 32, 50_280, 2_048, "MIT", "plain"),
    Entry("tiiuae/Falcon3-1B-Instruct", "Falcon 3 1B Instruct",
          1_669_408_768, 2_048, 18, 131_072, 8_192, "Falcon LLM 2.0", "Falcon 3"),
    Entry("tiiuae/falcon-7b-instruct", "Falcon 7B Instruct",
          6_921_720_704, 4_544, 32, 65_024, 2_048, "Apache-2.0", "Falcon"),
    Entry("microsoft/phi-2", "Phi 2",
          2_779_683_840, 2_560, 32, 51_200, 2_048, "MIT", "plain"),
    Entry("microsoft/Phi-3.5-mini-instruct", "Phi 3.5 mini Instruct",
          3_821_079_552, 3_072, 32, 32_064, 131_072, "MIT", "Phi 3"),
    # Layers of both halves.
    Entry("google/flan-t5-small", "Flan-T5 small, seq2seq",
          76_961_152, 512, 16, 32_128, 512, "Apache-2.0", "contents"),
    Entry("google/flan-t5-base", "Flan-T5 base, seq2seq",
          247_577_856, 768, 24, 32_128, 512, "Apache-2.0", "contents"),
    Entry("google/flan-t5-large", "Flan-T5 large, seq2seq",
          783_150_080, 1_024, 48, 32_128, 512, "Apache-2.0", "contents"),
    Entry("microsoft/Phi-4-mini-instruct", "Phi 4 mini Instruct",
          3_836_021_760, 3_072, 32, 200_064, 131_072, "MIT", "Phi 4"),
)
EMBEDDERS: tuple[Entry, ...] = (
    Entry("all-minilm-l6-v2", "all-MiniLM-L6-v2, embeddings",
          22_713_216, 384, 6, 30_522, 512, "Apache-2.0", "plain"),
)
"""Bases that turn texts into vectors; they cannot answer or be trained, so the choices above leave them out."""
# fmt: on


@dataclass(frozen=True)
class Other:
    """A known model that Pumice cannot train, as it does not write text."""

    id: str
    name: str
    modality: str
    """What it reads and makes."""
    licence: str


OTHERS: tuple[Other, ...] = (
    Other("google/vit-base-patch16-224", "ViT base", "images to classes", "Apache-2.0"),
    Other("openai/clip-vit-base-patch32", "CLIP ViT-B/32", "images and text to vectors", "MIT"),
    Other("openai/whisper-small", "Whisper small", "speech to text", "Apache-2.0"),
    Other("stabilityai/stable-diffusion-xl-base-1.0", "Stable Diffusion XL", "text to images", "OpenRAIL++"),
    Other("black-forest-labs/FLUX.1-schnell", "FLUX.1 schnell", "text to images", "Apache-2.0"),
)
"""In the catalogue so that whoever asks for one is told why not."""
