"""Tokenizers that read letter by letter, and small text encoders with random weights."""

import string

import torch
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

LENGTH = 32  # tokens of a prompt, most of them one letter each
WIDTH = 32  # channels of the text embeddings, where nothing else is said
VOCABULARY = 320  # more than any tokenizer here has pieces
T5_SIZES = {"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
DECODER_SIZES = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 1024}
LETTERS = tuple(string.ascii_letters + string.digits + string.punctuation)
BYTES = tuple(sorted(ByteLevel.alphabet()))
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"


def distinct(encoder: PreTrainedModel) -> PreTrainedModel:
    """The encoder with its token embeddings scaled up, else every prompt reads alike."""
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "embed" in name and parameter.std() < 0.1:
                parameter.mul_(20)
    return encoder


def clip_tokenizer() -> CLIPTokenizer:
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=LENGTH)


def clip(width: int = WIDTH, projection: bool = False) -> PreTrainedModel:
    end = 2 * len(LETTERS) + 1
    config = CLIPTextConfig(
        vocab_size=end + 1,
        hidden_size=width,
        intermediate_size=48,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    return distinct((CLIPTextModelWithProjection if projection else CLIPTextModel)(config))


def t5_tokenizer() -> T5Tokenizer:
    scores = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -2.0, **dict.fromkeys(LETTERS, -3.0)}
    return T5Tokenizer(vocab=list(scores.items()), extra_ids=0, model_max_length=LENGTH)


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(**T5_SIZES))


def umt5() -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(**T5_SIZES))


def bert_tokenizer() -> BertTokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77)


def bert() -> BertModel:
    return distinct(BertModel(BertConfig(**SIZES, max_position_embeddings=80)))


def gemma_tokenizer() -> GemmaTokenizer:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    tokenizer = GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=256)
    return _started(tokenizer, "<bos>")


def gemma() -> Gemma2Model:
    return distinct(Gemma2Model(Gemma2Config(**DECODER_SIZES, head_dim=8)))


def qwen_tokenizer() -> Qwen2Tokenizer:
    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *BYTES]
    return Qwen2Tokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[],
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=LENGTH,
        chat_template=CHAT,
    )


def glm_tokenizer() -> PreTrainedTokenizerFast:
    return _started(qwen_tokenizer(), "<|im_start|>", padding_side="left")


def _started(tokenizer: PreTrainedTokenizerFast, mark: str, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """The tokenizer with a mark put before every text, as the real one does; without it no text has no tokens."""
    marks = [(mark, tokenizer.convert_tokens_to_ids(mark))]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{mark} $A", special_tokens=marks)
    tokenizer.padding_side = padding_side
    return tokenizer


def qwen3(head: bool = False, layers: int = 2) -> PreTrainedModel:
    config = Qwen3Config(**{**DECODER_SIZES, "num_hidden_layers": layers}, head_dim=8)
    return distinct((Qwen3ForCausalLM if head else Qwen3Model)(config))


def qwen_vl() -> Qwen2_5_VLForConditionalGeneration:
    rotary = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    text = {**DECODER_SIZES, "rope_parameters": rotary, "bos_token_id": 0, "eos_token_id": 0}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    return distinct(Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)))


def glm() -> GlmModel:
    return distinct(GlmModel(GlmConfig(**DECODER_SIZES, head_dim=8, pad_token_id=0)))


def llama() -> LlamaForCausalLM:
    """With attention that can be looked at, as the pipeline asks for it."""
    return distinct(LlamaForCausalLM(LlamaConfig(**DECODER_SIZES, attn_implementation="eager")))
