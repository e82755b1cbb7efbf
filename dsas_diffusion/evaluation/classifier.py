"""Any text classifier of Transformers as a judge of continuations: the probability of one of its labels."""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..backends.language import check_tokenizer
from ..errors import InputError
from ..words import first_line

#: The judge of the papers: English, trained on the Jigsaw challenges' comments.
DEFAULT: Final = "s-nlp/roberta_toxicity_classifier"


class LabelClassifier:
    """Says how surely texts carry one label: texts → (n,) probabilities.

    Args:
        model: A model with a head for sequence classification, in evaluation mode, on its device.
        tokenizer: Its tokenizer.
        label: One of the model's labels, as its configuration's `id2label` spells it.
        batch_size: Texts at a time.
        name: What reports call it.

    Raises:
        InputError: If the model has no such label, or its tokenizer no pad token.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, label: str = "toxic", batch_size: int = 32, name: str = ""
    ) -> None:
        labels = {str(told): number for number, told in (model.config.id2label or {}).items()}
        if label not in labels:
            raise InputError(
                f"The classifier {name or type(model).__name__} has no label {label!r}; it has "
                f"{', '.join(map(repr, labels))}. Name one of these (--label)."
            )
        check_tokenizer(model, tokenizer)
        self.model, self.tokenizer, self.label, self.batch_size = model, tokenizer, label, batch_size
        self.name = f"{name or type(model).__name__}, {label}"
        self._column = int(labels[label])

    @classmethod
    def load(
        cls,
        name: str = DEFAULT,
        label: str = "toxic",
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ) -> Self:
        """Load a classifier in float32.

        Args:
            name: A folder in Transformers' format or a hub id.
            label: One of its labels.
            device: Where it computes.
            batch_size: Texts at a time.

        Raises:
            InputError: If it can't be loaded or has no such label.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise InputError(
                f"No text classifier could be loaded from {name!r}: {first_line(error)}. Give `orchard`, a "
                "folder in Transformers' format, or the id of a repository on the hub that you can reach."
            ) from error
        return cls(model.to(device).eval(), tokenizer, label, batch_size, name)

    @property
    def context(self) -> int:
        """The most tokens that it reads, special ones included."""
        return self.tokenizer.model_max_length

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """p(label | text): softmax over the labels, or the sigmoid where labels don't exclude each other.

        Args:
            texts: n texts.

        Returns:
            (n,) float64 in [0, 1].

        Raises:
            InputError: If a text is longer than the classifier reads.
        """
        scores: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            part = list(texts[start : start + self.batch_size])
            given = self.tokenizer(part, padding=True, return_tensors="pt", verbose=False)
            for text, length in zip(part, given["attention_mask"].sum(1).tolist(), strict=True):
                if length > self.context:
                    raise InputError(
                        f"The text {text[:60]!r} has {length} tokens, but the classifier {self.name} reads "
                        f"{self.context}. Generate shorter continuations (max_new_tokens), or name another classifier."
                    )
            called: Any = self.model
            logits = called(**given.to(self.model.device)).logits.double()
            apart = self.model.config.problem_type == "multi_label_classification" or logits.shape[1] == 1
            each = logits.sigmoid() if apart else logits.softmax(-1)
            scores += each[:, self._column].tolist()
        return np.array(scores, dtype=np.float64)
