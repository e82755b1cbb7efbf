"""`dsas evaluate text`, and what it knows by name: classifiers, texts and questions, Orchard's or from a file."""

from pathlib import Path
from typing import Final, Literal

import torch

from .calibration import Tells
from .errors import InputError
from .evaluation.classifier import DEFAULT, LabelClassifier
from .evaluation.multiple_choice import Choice
from .evaluation.toxicity import THRESHOLD, Classifier, classified
from .files import read_text
from .hooks.calls import Tokens
from .hooks.steerer import Steerer
from .models import Precision, device_of, load_language
from .prompts import bundled_prompts, load_prompts, read_prompts
from .records import SUFFIXES, read_records
from .text_evaluation import REPORT, evaluate_language
from .text_figures import table
from .text_suite import TextSuite

Split = Literal["heldout", "tuning"]
_ORCHARD: Final = "orchard/language"
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
        from . import orchard

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
    return "orchard" if model == _ORCHARD else DEFAULT


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
        from . import orchard

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
        from . import orchard

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


def evaluate(
    model: str = _ORCHARD,
    steerer: str | None = None,
    strength: float | None = None,
    tokens: Tokens = "both",
    prompts: str | None = None,
    split: Split = "heldout",
    n: int | None = None,
    samples: int = 1,
    classifier: str = "auto",
    label: str = "toxic",
    threshold: float = THRESHOLD,
    judge: str = "none",
    texts: str | None = None,
    stride: int | None = None,
    questions: str | None = None,
    tasks: list[str] | str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    max_new_tokens: int = 32,
    min_new_tokens: int = 1,
    greedy: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    chat: bool = False,
    out: str = "outputs/evaluation",
    seed: int = 0,
    batch_size: int = 16,
    precision: Precision = "float32",
    device: str | None = None,
) -> None:
    """Measure a language model, and with a steerer the steered one beside its unsteered twin.

    How toxic continuations are, the perplexity of fixed texts and of continuations, questions with answers to choose
    from, and the benchmarks of lm-eval; each figure with a bootstrap interval over prompts. Whatever is finished stays
    in the folder: stopped anywhere and started again, it goes on where it was. The same folder serves other steerers
    and strengths.

    Args:
        model: The language model: orchard/language, a folder in Transformers' format, or a hub id.
        steerer: The steerer's folder or hub id; without one, the model alone is measured.
        strength: The strength; by default the steerer's own.
        tokens: Which tokens to steer.
        prompts: What is continued: a prompt set with held-out prompts, such as orchard/rudeness, or a .jsonl or .csv
            file of prompts.
        split: Which part of a prompt set, and of Orchard's texts and questions: heldout for figures, tuning to choose
            settings on.
        n: The first so many prompts of each kind; by default all.
        samples: Continuations of each prompt.
        classifier: What says how toxic a continuation is: orchard (rudeness), none, a folder in Transformers' format,
            or a hub id; auto is orchard for Orchard's model and s-nlp/roberta_toxicity_classifier for others.
        label: The classifier's label that counts.
        threshold: The score from which on a continuation counts as toxic.
        judge: The model that tells how perplexing continuations are: none, self (the model, unsteered), or another
            one's name.
        texts: Texts whose perplexity is measured: a .txt file with one a line, a .jsonl or .csv file with the field
            text, or orchard.
        stride: Read texts longer than the context in windows, each so many tokens further than the last; by default
            they are refused.
        questions: Questions with answers to choose from: a .jsonl file as dsas orchard questions writes it, or orchard.
        tasks: A task of lm-eval, or several as a list: names such as mmlu or truthfulqa_mc2, or task files (.yaml).
        shots: Answered questions before each one of a task; by default what the task says.
        limit: The first so many questions of each task; by default all.
        max_new_tokens: The longest continuation.
        min_new_tokens: The shortest continuation, at least 1.
        greedy: Take the likeliest token each time, instead of sampling.
        temperature: Of sampling.
        top_p: Sample from the likeliest tokens that have this share together.
        repetition_penalty: Above 1, tokens that were there are less likely.
        chat: Put each prompt into the tokenizer's chat template.
        out: Folder for the parts and report.json.
        seed: Of the first batch of continuations; the others follow.
        batch_size: Texts at a time.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If something handed in can't be used.
    """
    where = device_of(device)
    asked = {} if prompts is None else prompts_by_kind(prompts, split, n)
    fixed = [] if texts is None else read_texts(texts, split)
    posed = [] if questions is None else read_questions(questions, split)
    chosen = classifier_for(classifier, model)
    loaded = None if steerer is None else Steerer.from_pretrained(steerer)
    judged_by = text_classifier(chosen, label, where, batch_size) if asked else None
    language, tokenizer = load_language(model, where, precision)
    suite = TextSuite(
        prompts=asked,
        samples=samples,
        classifier=judged_by,
        threshold=threshold,
        generation={
            "max_new_tokens": max_new_tokens,
            "min_new_tokens": min_new_tokens,
            "repetition_penalty": repetition_penalty,
            "do_sample": not greedy,
            **({} if greedy else {"temperature": temperature, "top_p": top_p}),
        },
        chat=chat,
        judge=None if judge == "none" else (language, tokenizer) if judge == "self" else load_language(judge, where),
        texts=fixed,
        stride=stride,
        questions=posed,
        tasks=[tasks] if isinstance(tasks, str) else tasks or [],
        shots=shots,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
    )
    report = evaluate_language(language, tokenizer, suite, loaded, strength=strength, tokens=tokens, out=out)
    print(table(report))
    told = f"Judged by {report['settings']['classifier']}; intervals" if asked and judged_by else "Intervals"
    print(f"\n{told} hold 95 % of bootstrap resamples. Every prompt's own figures: {Path(out) / REPORT}.")
