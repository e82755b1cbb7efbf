"""Multiple choice by likelihood: a model chooses the continuation that it finds likeliest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..errors import InputError
from .base import Measure, share
from .likelihood import continuation_log_likelihoods


@dataclass(frozen=True)
class Choice:
    """A question with answers to choose from.

    Args:
        prompt: What comes before the answer.
        choices: Two answers or more; a space is put between prompt and answer.
        answer: Which of them is right, from 0.

    Raises:
        InputError: If there is nothing to choose from, or no such answer.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or not 0 <= self.answer < len(self.choices):
            raise InputError(
                f"The question {self.prompt[:60]!r} has {len(self.choices)} choices and the answer {self.answer}; "
                "accepted are 2 choices or more, and the right one's index from 0."
            )


def choose(
    model: PreTrainedModel, tokenizer: Any, questions: Sequence[Choice], *, batch_size: int = 16
) -> NDArray[np.int64]:
    """Chosen = argmax over choices of Σ log p(token | prompt, tokens before), the first of equal ones.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        questions: n questions.
        batch_size: Answers at a time.

    Returns:
        (n,) indices into each question's choices.

    Raises:
        InputError: As for `continuation_log_likelihoods`.

    Source: The task type `multiple_choice` of EleutherAI's lm-evaluation-harness, metric `acc`.
    """
    prompts = [question.prompt for question in questions for _ in question.choices]
    answers = [f" {choice}" for question in questions for choice in question.choices]
    told = iter(continuation_log_likelihoods(model, tokenizer, prompts, answers, batch_size=batch_size))
    return np.array(
        [np.argmax([next(told).log_likelihood for _ in question.choices]) for question in questions], dtype=np.int64
    )


@dataclass
class MultipleChoiceAccuracy(Measure):
    """Share of questions whose right answer is chosen."""

    higher_is_better: ClassVar[bool | None] = True

    right: int = 0
    questions: int = 0

    def update(self, questions: Sequence[Choice], chosen: Sequence[int] | NDArray[np.int64]) -> None:
        """Take one batch.

        Args:
            questions: n questions.
            chosen: The n choices made, as `choose` gives them.
        """
        self.right += sum(int(made) == asked.answer for asked, made in zip(questions, chosen, strict=True))
        self.questions += len(questions)

    def compute(self) -> float:
        return share(self.right, self.questions)
