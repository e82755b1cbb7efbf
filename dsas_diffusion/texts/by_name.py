"""What texts are measured with, by the names that people type: classifiers, texts, questions."""

from pathlib import Path
from typing import Final, Literal

import torch

from ..calibration import Tells
from ..errors import InputError
from ..evaluation.classifier import DEFAULT, LabelClassifier
from ..evaluation.multiple_choice import Choice
from ..evaluation.toxicity import THRESHOLD, Classifier, classified
from ..files import read_text
from ..models import ORCHARD_LANGUAGE
from ..prompts import bundled_prompts, load_prompts, read_prompts
from ..records import SUFFIXES, read_records

Split = Literal["heldout", "tuning"]
#: Where Orchard's texts and questions of a split come from.
_SEEDS: Final[dict[Split, str]] = {"heldout": "test", "tuning": "tuning"}
_TEXTS, _QUESTIONS = 256, 500


def text_classifier(
    name: str, label: str = "toxic", device: str | torch.device = "cpu", batch_size: int = 32
) -> Classifier | None:
    """Load the classifier that a name stands for.

    Args:
        name: `"orchard"` for Orchard's judge of rudeness, `"none"`, a folder in Transformers' format or a hub id.
        label: The label that counts; Orchard's judge knows but one.
        device: Where it computes.
        batch_size: Texts at a time.

    Returns:
        The classifier; `None` for `"none"`.

    Raises:
        InputError: If there is no such classifier, or it has no such label.
    """
    if name == "none":
        return None
    if name == "orchard":
        from .. import orchard

        return orchard.rudeness
    return LabelClassifier.load(name, label, device, batch_size)


def classifier_for(name: str, model: str) -> str:
    """Settle which classifier is meant.

    Args:
        name: As for :func:`text_classifier`; or `"auto"`, for the one that suits a language model.
        model: The language model's name.
    """
    if name != "auto":
        return name
    return "orchard" if model == ORCHARD_LANGUAGE else DEFAULT


def concept_teller(name: str, label: str = "toxic", device: str | torch.device = "cpu", batch_size: int = 32) -> Tells:
    """Make what tells which continuations show a concept: those that a classifier gives 1/2 or more.

    Args:
        name: As for :func:`text_classifier`.
        label: As there.
        device: As there.
        batch_size: As there.

    Raises:
        InputError: As there, or if the classifier is none.
    """
    classifier = text_classifier(name, label, device, batch_size)
    if classifier is None:
        raise InputError(
            "What is removed needs a judge, but it is none. Name a classifier: orchard, a folder in Transformers' "
            "format, or a hub id; or ask for a budget."
        )
    return lambda texts: torch.from_numpy(classified(classifier, [text.strip() for text in texts]) >= THRESHOLD)


def prompts_by_kind(source: str, split: Split = "heldout", n: int | None = None) -> dict[str, list[str]]:
    """Give the prompts to continue.

    Args:
        source: A prompt set, by its bundled name or folder; or a `.jsonl` or `.csv` file, whose prompts are one kind
            unless a field `set` groups them.
        split: Of a set, which part.
        n: The first so many of each kind; `None` for all.

    Returns:
        Kind → texts: `"source"`, `"control"` and `"mixed"` of a set, `"prompts"` of a plain file.

    Raises:
        InputError: If there is no such set or file, it has no such part, or n is not positive.
    """
    if n is not None and n < 1:
        raise InputError(f"n is {n}, but must be 1 or more.")
    path = Path(source)
    single = source not in bundled_prompts() and path.suffix.lower() in SUFFIXES
    if single and not (path.is_file() and any("set" in record.fields for record in read_records(path))):
        return {"prompts": [prompt.text for prompt in read_prompts(path)][:n]}
    found = load_prompts(source)
    groups = found.heldout if split == "heldout" else found.tuning
    if not groups:
        raise InputError(
            f"The prompt set {found.name!r} has no {split} prompts. Add {split}_source and {split}_control, or name "
            "the other split."
        )
    return {kind: [prompt.text for prompt in prompts][:n] for kind, prompts in groups.items() if prompts}


def read_texts(source: str, split: Split = "heldout") -> list[str]:
    """Give fixed texts.

    Args:
        source: `"orchard"` for descriptions of Orchard's scenes; a `.txt` file, one text a line; or a `.jsonl` or
            `.csv` file with the field `text`.
        split: Of Orchard's, which part.

    Raises:
        InputError: If a file can't be read, holds no text, or a row has none.
    """
    if source == "orchard":
        from .. import orchard

        return [orchard.sample_text(seed, "description").text for seed in orchard.SEEDS[_SEEDS[split]][:_TEXTS]]
    if Path(source).suffix.lower() == ".txt":
        texts = [line for line in read_text(source).splitlines() if line.strip()]
        if not texts:
            raise InputError(f"{source} holds no text. Write one a line.")
        return texts
    texts = []
    for record in read_records(source):
        text = record.fields.get("text")
        if not isinstance(text, str) or not text.strip():
            raise record.refuse(f"the field 'text' is {text!r}", "Write the text that is to be measured.")
        texts.append(text)
    return texts


def read_questions(source: str, split: Split = "heldout") -> list[Choice]:
    """Give questions with answers to choose from.

    Args:
        source: `"orchard"`, or a `.jsonl` file with the fields `prompt`, `choices` and `answer` (an index from 0), as
            `dsas orchard questions` writes it.
        split: Of Orchard's, which part.

    Raises:
        InputError: If a file can't be read, or a row is no question.
    """
    if source == "orchard":
        from .. import orchard

        asked = orchard.four_way_questions(_QUESTIONS, _SEEDS[split])
        return [Choice(question.prompt, question.choices, question.answer) for question in asked]
    found = []
    for record in read_records(source):
        prompt, choices, answer = (record.fields.get(name) for name in ("prompt", "choices", "answer"))
        texts = isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
        if not isinstance(prompt, str) or not texts or not isinstance(answer, int):
            raise record.refuse(
                "it is no question",
                'Write {"prompt": "… answer :", "choices": ["an apple", "a pear"], "answer": 0}.',
            )
        found.append(Choice(prompt, tuple(choices), answer))
    return found
