"""Models of transformers that are made on the spot, with random weights, and saved with what prepares samples for them."""

from pathlib import Path
from typing import Any


def bytes_as_tokens() -> dict[str, int]:
    """A vocabulary of the 256 bytes, as byte-level BPE writes them."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}


def save_whisper(folder: Path) -> None:
    """Whisper for a second of sound, in 16 mel bands."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    vocabulary = bytes_as_tokens()
    for name in ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"):
        vocabulary[name] = len(vocabulary)
    tokenizer: Any = WhisperTokenizer(vocab=vocabulary, merges=[])
    ends: dict[str, Any] = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), vocabulary["<|endoftext|>"])
    sizes: dict[str, Any] = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_source_positions": 50,
        "max_target_positions": 32, "num_mel_bins": 16, "vocab_size": len(vocabulary),
    }  # fmt: skip
    config = WhisperConfig(**sizes, **ends, decoder_start_token_id=vocabulary["<|startoftranscript|>"])
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=1), tokenizer).save_pretrained(folder)


def save_llava(folder: Path) -> None:
    """LLaVA for images of 16 x 16 pixels."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    of_bytes = Tokenizer(models.BPE(vocab=bytes_as_tokens(), merges=[]))
    of_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    of_bytes.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=of_bytes, eos_token="</s>", pad_token="<pad>", extra_special_tokens={"image_token": "<image>"}
    )
    template = (
        "{% for message in messages %}{% for one in message.content %}"
        "{{ '<image>' if one.type == 'image' else one.text }}{% endfor %}{% endfor %}"
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )  # fmt: skip
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    eye = CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=16, patch_size=8, projection_dim=16)
    ends: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    mouth = LlamaConfig(**sizes, **ends, vocab_size=len(tokenizer), num_hidden_layers=1, num_key_value_heads=2)
    config = LlavaConfig(
        vision_config=eye, text_config=mouth, image_token_id=tokenizer.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
