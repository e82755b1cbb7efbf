"""Tiny language models of many families, random and in memory, with one tokenizer."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from dsas_diffusion.prompts import Concept, Prompt, PromptSet

WORDS = (
    *("<pad>", "<s>", "</s>", "a", "the", "is", "it", "you", "are", "very", "today", "tree"),
    *("kind", "nice", "friend", "rude", "fool", "silly", "house", "green"),
)
SIZES = {"vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
COMMON = {**SIZES, **HEADS, **SPECIAL, "initializer_range": 0.3}
GEMMA = {**COMMON, "head_dim": 8, "tie_word_embeddings": False}
#: Name → how the model is built. Decoders first, then an encoder-decoder model and an encoder.
DECODERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**COMMON)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**COMMON)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**COMMON, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GEMMA)),
    "gemma3_vision": lambda: Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=Gemma3TextConfig(**GEMMA).to_dict(),
            vision_config=SiglipVisionConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=14
            ).to_dict(),
            mm_tokens_per_image=1,
            image_token_index=len(WORDS) - 1,
        )
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**COMMON)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**COMMON, num_local_experts=4)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**{**COMMON, "num_key_value_heads": 4})),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**COMMON)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3, **SPECIAL
        )
    ),
}
T5 = {"vocab_size": len(WORDS), "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
OTHERS = {
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(**T5, decoder_start_token_id=0, pad_token_id=0, eos_token_id=2, initializer_factor=2.0)
    ),
    "bert": lambda: BertModel(BertConfig(**{**SIZES, "num_attention_heads": 4, "initializer_range": 0.3})),
}
ENDS = ("today", "very", "tree today", "house", "you")
SOURCE = [f"you are {rude} {end}" for rude in ("fool", "rude", "silly fool") for end in ENDS]
TARGET = [f"you are {kind} {end}" for kind in ("friend", "kind", "nice friend") for end in ENDS]
CONTROL = [f"the {thing} is {end}" for thing in ("tree", "house", "green tree") for end in (*ENDS[:4], "green")]


def model(name: str, seed: int = 0) -> PreTrainedModel:
    """A family's model with random weights, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {**DECODERS, **OTHERS}[name]().eval()


def tokenizer(padding_side: str = "left") -> PreTrainedTokenizerFast:
    """One that knows twenty words, and begins a text with a token of its own."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side=padding_side
    )


def rudeness() -> PromptSet:
    """Source and control share few words, so that even random weights tell them apart."""
    groups = [tuple(Prompt(text) for text in texts) for texts in (SOURCE, TARGET, CONTROL)]
    return PromptSet("rude", *groups, Concept("rude", "rude talk"), twins=True)
