"""Models of transformers that are made on the spot, with random weights, and saved with what prepares samples for them."""

from importlib import import_module
from pathlib import Path
from typing import Any


def bytes_as_tokens() -> dict[str, int]:
    """A vocabulary of the 256 bytes, as byte-level BPE writes them."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}


def save_whisper(folder: Path) -> None:
    """Whisper for a second of sound, in 16 mel bands."""
    import torch

    transformers: Any = import_module("transformers")

    vocabulary = bytes_as_tokens()
    for name in ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"):
        vocabulary[name] = len(vocabulary)
    tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=[])
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), vocabulary["<|endoftext|>"])
    sizes = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_source_positions": 50,
        "max_target_positions": 32, "num_mel_bins": 16, "vocab_size": len(vocabulary),
    }  # fmt: skip
    config = transformers.WhisperConfig(**sizes, **ends, decoder_start_token_id=vocabulary["<|startoftranscript|>"])
    torch.manual_seed(0)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperProcessor(
        transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1), tokenizer
    ).save_pretrained(folder)


def save_llava(folder: Path) -> None:
    """LLaVA for images of 16 x 16 pixels."""
    import torch

    transformers: Any = import_module("transformers")
    tokenizers: Any = import_module("tokenizers")

    of_bytes = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=bytes_as_tokens(), merges=[]))
    of_bytes.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    of_bytes.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=of_bytes, eos_token="</s>", pad_token="<pad>", extra_special_tokens={"image_token": "<image>"}
    )
    template = (
        "{% for message in messages %}{% for one in message.content %}"
        "{{ '<image>' if one.type == 'image' else one.text }}{% endfor %}{% endfor %}"
    )
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = transformers.LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )  # fmt: skip
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    eye = transformers.CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=16, patch_size=8, projection_dim=16)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    mouth = transformers.LlamaConfig(
        **sizes, **ends, vocab_size=len(tokenizer), num_hidden_layers=1, num_key_value_heads=2
    )
    config = transformers.LlavaConfig(
        vision_config=eye, text_config=mouth, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
