"""The language model's tokenizer: one token for each word of the grammar, letters for everything else."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .lexicon import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_TOKENS: Final = 128
PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
#: Before a piece that goes on with a word.
_INSIDE: Final = "##"
CONFIG_FILE: Final = "tokenizer_config.json"


def build_language_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer in memory. The same grammar gives the same ids.

    A word of the grammar is one token; another falls apart into the longest known pieces, at worst letters, and comes
    back whole when decoded. Texts begin with the start token; the end token is left to the model. Batches are padded on
    the left, so that every row goes on from its last word.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [PAD, START, END, UNKNOWN, *words(), *letters, *(_INSIDE + letter for letter in letters)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=UNKNOWN, continuing_subword_prefix=_INSIDE))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_INSIDE, cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, vocab[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a tokenizer so that older and newer releases of Transformers load it.

    Args:
        tokenizer: From :func:`build_language_tokenizer`.
        folder: Where its files go.
    """
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    # Transformers 5 writes its own name for the class, which Transformers 4 does not know.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
