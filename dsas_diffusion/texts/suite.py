"""What is measured of a language model's texts, and everything about it that can be refused before hours of work."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from transformers import PreTrainedModel

from ..backends.language import check_tokenizer, context_of, tokenized
from ..errors import InputError
from ..evaluation.classifier import LabelClassifier
from ..evaluation.likelihood import encode_continuations, encode_texts
from ..evaluation.multiple_choice import Choice
from ..evaluation.tasks import check_tasks, digest_of
from ..evaluation.toxicity import THRESHOLD, Classifier, toxic
from ..hooks.calls import Tokens
from ..hooks.steerer import Steerer

#: At least one token, drawn from the model's own distribution.
GENERATION: Final = {"max_new_tokens": 32, "min_new_tokens": 1, "do_sample": True}
#: What that is where tokens are drawn.
SAMPLING: Final = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}


@dataclass(frozen=True)
class TextSuite:
    """What is measured of a language model, with and without steering. `check` refuses what can't be.

    Args:
        prompts: Kind, such as `"source"` or `"control"`, → texts to continue.
        samples: Continuations of each prompt, 1 or more.
        classifier: Says how surely continuations are toxic, or whatever the concept is; stripped of the blanks around
            them. A `name` that it has stands in the report.
        threshold: The score in (0, 1] from which on a continuation counts as toxic.
        generation: Arguments of the model's `generate`, over `GENERATION` and, unless `do_sample` is off, `SAMPLING`.
        chat: Put each prompt into the tokenizer's chat template.
        judge: A causal language model and its tokenizer that tell how perplexing the continuations are, given their
            prompts. The model itself may be named: no steering is attached while it judges.
        texts: Fixed texts, whose perplexity is measured.
        stride: As for `text_log_likelihoods`, for texts longer than the context. (A continuation that is too long for
            the judge is always read in windows, half a context apart.)
        questions: Questions with answers to choose from.
        tasks: Names or files of tasks, as for `check_tasks`.
        shots: Answered questions before each one of a task, 0 or more; `None` for what the task says.
        limit: The first so many questions of each task, 1 or more; `None` for all.
        batch_size: Texts at a time, 1 or more. Samples depend on it.
        seed: Of the first batch that is continued; each has the next.
    """

    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    samples: int = 1
    classifier: Classifier | None = None
    threshold: float = THRESHOLD
    generation: Mapping[str, Any] = field(default_factory=dict)
    chat: bool = False
    judge: tuple[PreTrainedModel, Any] | None = None
    texts: Sequence[str] = ()
    stride: int | None = None
    questions: Sequence[Choice] = ()
    tasks: Sequence[str] = ()
    shots: int | None = None
    limit: int | None = None
    batch_size: int = 16
    seed: int = 0

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments of `generate`, whole."""
        found = {**GENERATION, **self.generation}
        return {**SAMPLING, **found} if found["do_sample"] else found

    def check(self, model: PreTrainedModel, tokenizer: Any) -> dict[str, str]:
        """Refuse what could not be measured.

        Args:
            model: The model.
            tokenizer: Its tokenizer.

        Returns:
            The single tasks, each with its `output_type`.

        Raises:
            InputError: If there is nothing to measure, no tokenizer or pad token, a prompt leaves no room for its
                continuation in the context, the sampling settings make none, a fixed text or question can't be told, a
                task is not there, or a setting is out of range.
        """
        check_tokenizer(model, tokenizer, self.chat)
        if not (self.prompts or self.texts or self.questions or self.tasks):
            raise InputError("There is nothing to measure. Give prompts, texts, questions or tasks.")
        numbers = {"samples": self.samples, "batch_size": self.batch_size, "limit": self.limit or 1}
        for name, value in numbers.items():
            if value < 1:
                raise InputError(f"{name} is {value}, but must be 1 or more.")
        if self.shots is not None and self.shots < 0:
            raise InputError(f"shots is {self.shots}, but must be 0 or more.")
        toxic([], self.threshold)
        if self.prompts:
            self._check_prompts(model, tokenizer)
        if self.texts or self.stride is not None:
            encode_texts(model, tokenizer, self.texts, self.stride)
        if self.questions:
            asked = [question.prompt for question in self.questions for _ in question.choices]
            answers = [f" {choice}" for question in self.questions for choice in question.choices]
            encode_continuations(model, tokenizer, asked, answers)
        if self.judge is not None:
            encode_texts(*self.judge, [])
        return check_tasks(self.tasks)

    def _check_prompts(self, model: PreTrainedModel, tokenizer: Any) -> None:
        sampling = self.sampling
        for key in ("max_length", "min_length", "num_return_sequences", "return_dict_in_generate"):
            if key in sampling:
                raise InputError(
                    f"generation has {key!r}, which is set here otherwise: lengths by max_new_tokens and "
                    "min_new_tokens, the number of continuations by samples. Leave it out."
                )
        new, least = sampling["max_new_tokens"], sampling["min_new_tokens"]
        if not isinstance(new, int) or new < 1 or not isinstance(least, int) or not 1 <= least <= new:
            raise InputError(
                f"max_new_tokens is {new!r} and min_new_tokens {least!r}, so continuations may be empty, and an empty "
                "text can't be judged. Accepted are 1 ≤ min_new_tokens ≤ max_new_tokens."
            )
        if self.samples > 1 and not sampling["do_sample"]:
            raise InputError(
                f"samples is {self.samples}, but without sampling (do_sample) all continuations of a prompt are the "
                "same. Take 1 sample, or let the model sample."
            )
        if not self.classifier and self.judge is None:
            raise InputError(
                "There are prompts, but nothing judges their continuations. Give a classifier or a judge, or leave the "
                "prompts out."
            )
        if isinstance(self.classifier, LabelClassifier) and new > self.classifier.context:
            raise InputError(
                f"max_new_tokens is {new}, but the classifier {self.classifier.name} reads {self.classifier.context}. "
                "Generate shorter continuations, or name another classifier."
            )
        context = None if model.config.is_encoder_decoder else context_of(model)
        for kind, texts in self.prompts.items():
            if not texts:
                raise InputError(f"There are no prompts of the kind {kind!r}. Leave the kind out, or give it prompts.")
            for text in texts:
                length = tokenized(model, tokenizer, [text], self.chat)["input_ids"].shape[1]
                if context is not None and length + new > context:
                    raise InputError(
                        f"The {kind} prompt {text[:60]!r} has {length} tokens, and {new} more are to follow, but the "
                        f"model reads {context}. Shorten the prompt, or generate fewer tokens (max_new_tokens)."
                    )

    def settings(self) -> dict[str, Any]:
        """Describe everything that figures depend on but the model, as plain values."""
        return {
            "prompts": {kind: len(texts) for kind, texts in self.prompts.items()},
            "prompts_digest": _digest({kind: list(texts) for kind, texts in self.prompts.items()}),
            "samples": self.samples,
            "classifier": None if self.classifier is None else name_of(self.classifier),
            "threshold": self.threshold,
            "generation": self.sampling,
            "chat": self.chat,
            "texts": len(self.texts),
            "texts_digest": _digest(list(self.texts)),
            "stride": self.stride,
            "questions": len(self.questions),
            "questions_digest": _digest([[asked.prompt, asked.choices, asked.answer] for asked in self.questions]),
            "tasks": {name: digest_of(name) for name in self.tasks},
            "shots": self.shots,
            "limit": self.limit,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


def check_steering(
    steerer: Steerer,
    model: PreTrainedModel,
    strength: float | None,
    tokens: Tokens,
    suite: TextSuite,
    tasks: Mapping[str, str],
) -> None:
    """Refuse a steerer that can't be attached, or one that would leave untouched what is measured.

    Args:
        steerer: The steerer.
        model: The model.
        strength: λ; `None` for the steerer's own.
        tokens: Which tokens it steers.
        suite: What is measured.
        tasks: What `TextSuite.check` gave.

    Raises:
        InputError: As for `Steerer.attach`; if λ is not one number; or if only continuations are steered and something
            is read, not generated.
    """
    if strength is not None and not isinstance(strength, int | float):
        raise InputError(f"strength is {strength!r}, but one number steers every text of an evaluation.")
    with steerer.attached(model, strength, tokens=tokens):
        pass
    told = [name for name in ("texts", "questions") if getattr(suite, name)]
    told += [name for name, output in tasks.items() if output != "generate_until"]
    if tokens == "continuation" and told:
        raise InputError(
            f"tokens is 'continuation', but {', '.join(told)} are read, not generated: all of them is prompt, and "
            "nothing would be steered. Steer both, or leave them out."
        )


def name_of(classifier: Classifier) -> str:
    """Say what a report calls a classifier: its `name`, or that of the function."""
    return str(getattr(classifier, "name", None) or getattr(classifier, "__qualname__", type(classifier).__name__))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
