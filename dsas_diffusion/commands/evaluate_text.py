"""`dsas evaluate text`: a language model's texts measured, with steering beside without."""

from pathlib import Path

from ..evaluation.toxicity import THRESHOLD
from ..hooks.calls import Tokens
from ..hooks.steerer import Steerer
from ..models import ORCHARD_LANGUAGE, Precision, device_of
from ..texts.by_name import Split, classifier_for, prompts_by_kind, read_questions, read_texts, text_classifier
from ..texts.evaluation import REPORT, evaluate_language
from ..texts.figures import table
from ..texts.suite import TextSuite
from .options import load_for_texts


def evaluate(
    model: str = ORCHARD_LANGUAGE,
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
    language, tokenizer = load_for_texts(model, device, precision)
    reader = (language, tokenizer) if judge == "self" else None
    if judge not in ("none", "self"):
        reader = load_for_texts(judge, device, "float32")
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
        judge=reader,
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
