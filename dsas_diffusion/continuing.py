"""Continues prompts by a language model, steered and not: rows for a file, a view of them, a few for a model card."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from tqdm import tqdm

from .backends.language import check_vocabulary, generate
from .errors import InputError
from .files import atomic_folder
from .hooks.attachment import Attachment
from .hooks.card import Card, Continuation
from .hooks.steerer import Steerer
from .prompts import Prompt, PromptSet
from .words import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: How many tokens continue a prompt where nothing else is said, as in the paper's protocol.
TOKENS: Final = 50
#: What continuations are written to, in their folder.
CONTINUATIONS: Final = "continuations.jsonl"


@dataclass(frozen=True)
class Writer:
    """A language model with what it takes to continue prompts.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        generation: Arguments of the model's `generate`.
        seed: Of the first batch; each has the next.
        batch_size: Prompts at a time.
        chat: Put each prompt into the tokenizer's chat template.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    generation: Mapping[str, Any]
    seed: int = 0
    batch_size: int = 16
    chat: bool = False

    def write(self, texts: Sequence[str], title: str) -> list[str]:
        """Continue texts, steered or not.

        Args:
            texts: The texts.
            title: What the bar says.

        Returns:
            The continuations; several samples of a text follow one another.

        Raises:
            InputError: As for `backends.language.generate`, or if the model does not take a setting.
        """
        made: list[str] = []
        settings = {"batch_size": self.batch_size, "generation": self.generation, "chat": self.chat}
        try:
            with tqdm(total=len(texts), desc=title, unit="text", disable=None, leave=False) as bar:
                for batch in generate(self.model, self.tokenizer, texts, self.seed, **settings):
                    made += batch
                    bar.update(min(self.batch_size, len(texts) - bar.n))
        except ValueError as error:  # Transformers checks a generation's settings itself
            if isinstance(error, InputError):
                raise
            reason = " ".join(str(error).split())
            raise InputError(
                f"{type(self.model).__name__} can't generate with {dict(self.generation)}: {reason}"
            ) from error
        return made


def continue_twins(
    writer: Writer,
    steerer: Steerer,
    prompts: Sequence[Prompt],
    twins: bool = True,
    gates: bool = False,
    **attached: Any,
) -> list[dict[str, Any]]:
    """Continue prompts with a steerer attached, and from the same seeds without.

    Args:
        writer: The model and its settings; it comes out as it went in.
        steerer: What to attach.
        prompts: What to continue.
        twins: Continue without steering, too.
        gates: Say what the gates answered to each token.
        **attached: As for `Steerer.attached`.

    Returns:
        A row a continuation: `prompt`, `labels`, `named`, `sample` (its number among those of its prompt),
        `unsteered`, `steered`, and `gates` (site → `tokens`, and `h` in [0, 1] of each).

    Raises:
        InputError: As for `Steerer.attached`; or if the tokenizer is another than that of the fit.
    """
    check_vocabulary(writer.tokenizer, steerer.manifest)
    texts = [prompt.text for prompt in prompts]
    with steerer.attached(writer.model, record_gates=gates, **attached) as run:
        steered = writer.write(texts, "steered")
    unsteered = writer.write(texts, "unsteered") if twins else None
    each = len(steered) // max(1, len(prompts))
    said = _said(run, writer.tokenizer) if gates else None
    rows: list[dict[str, Any]] = []
    for index, text in enumerate(steered):
        prompt = prompts[index // each]
        row = {"prompt": prompt.text, "labels": prompt.labels, "named": prompt.named, "sample": index % each}
        row |= {} if unsteered is None else {"unsteered": unsteered[index]}
        row |= {"steered": text}
        rows.append(row if said is None else {**row, "gates": said[index]})
    return rows


def _said(run: Attachment, tokenizer: Any) -> list[dict[str, Any]]:
    """What the gates answered, a text at a time."""
    scores, ids = run.token_gates(), run.token_ids()
    count = len(next(iter(scores.values())))
    return [
        {
            path: {
                "tokens": tokenizer.convert_ids_to_tokens(ids[path][index].tolist()),
                "h": [round(h, 4) for h in scores[path][index].tolist()],
            }
            for path in scores
        }
        for index in range(count)
    ]


def continue_into(
    out: str | Path,
    writer: Writer,
    steerer: Steerer,
    prompts: Sequence[Prompt],
    twins: bool = True,
    gates: bool = False,
    **attached: Any,
) -> list[dict[str, Any]]:
    """Continue prompts as :func:`continue_twins` does, and write the rows into a folder of their own.

    Args:
        out: The folder, for `continuations.jsonl`; an earlier one there is replaced.
        writer: As there, and so are the others.
        steerer: What to attach.
        prompts: What to continue.
        twins: Continue without steering, too.
        gates: Say what the gates answered to each token.
        **attached: As for `Steerer.attached`.

    Returns:
        The rows.

    Raises:
        InputError: As there, or if the folder holds anything else.
    """
    with atomic_folder(out, overwrite=(CONTINUATIONS,)) as folder:
        rows = continue_twins(writer, steerer, prompts, twins, gates, **attached)
        (folder / CONTINUATIONS).write_text(as_jsonl(rows), encoding="utf-8")
    return rows


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as JSONL.

    Args:
        rows: As of :func:`continue_twins`.
    """
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def shown(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Lay rows out for the terminal: each prompt, and its continuations beside one another line by line.

    Args:
        rows: As of :func:`continue_twins`.
        width: Characters a line; by default the terminal's, 100 at most.
    """
    width = width or min(100, shutil.get_terminal_size().columns)
    blocks = []
    for row in rows:
        lines = [] if row["sample"] else textwrap.wrap(one_line(row["prompt"]), width)
        for side in ("unsteered", "steered"):
            if side in row:
                same = side == "steered" and row.get("unsteered") == row["steered"]
                text = "(the same)" if same else one_line(row[side]) or "(nothing)"
                lines += textwrap.wrap(text, width, initial_indent=f"  {side:<11}", subsequent_indent=" " * 13)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def continued_card(
    writer: Writer, steerer: Steerer, prompts: PromptSet, *, each: int = 2, seed: int = 2_000_000
) -> Card:
    """Continue a few prompts without steering and with it, and give the steerer's card with them.

    The prompts are the set's tuning prompts (source, mixed, control), or, where it has none, those of the fit; the
    caption says which. Keep the result with `steerer.card = continued_card(...)`.

    Args:
        writer: The model that the steerer was fitted on, and its settings.
        steerer: The steerer, at its own strength.
        prompts: The prompt set.
        each: How many prompts of each kind.
        seed: First seed of the texts.
    """
    kinds = prompts.tuning or {"source": prompts.source, "control": prompts.control}
    asked = [prompt for kind in ("source", "mixed", "control") for prompt in kinds.get(kind, ())[:each]]
    rows = continue_twins(replace(writer, seed=seed), steerer, asked)
    seen = "Tuning prompts" if prompts.tuning else "Prompts that the fit has seen"
    caption = (
        f"{seen} of {prompts.name}, continued from the same seeds without steering and with it "
        f"(λ = {steerer.strength:g})."
    )
    found = tuple(Continuation(row["prompt"], row["unsteered"], row["steered"]) for row in rows)
    return replace(steerer.card, continuations=found, caption=caption)


def sampling(
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    samples: int | None = None,
) -> dict[str, Any]:
    """Give arguments of a model's `generate` for what people ask for; what is `None` is left to the model.

    Args:
        max_new_tokens: How many tokens at most, from 1 on.
        temperature: Sample at this temperature; 0 takes the most likely token each time.
        top_p: Sample from the most likely tokens that have this share of the chances, in (0, 1].
        samples: How many continuations of each prompt, from 1 on.

    Raises:
        InputError: If a value is out of range, or several samples are asked for at temperature 0.
    """
    for name, value in (("max_new_tokens", max_new_tokens), ("samples", samples)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, but is {value}.")
    if temperature is not None and not 0 <= temperature < torch.inf:
        raise InputError(f"temperature must be a finite number from 0 on, but is {temperature}. 1 is the model's own.")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p must be in (0, 1], but is {top_p}. 1 leaves every token in.")
    greedy = temperature == 0
    if greedy and ((samples or 1) > 1 or top_p is not None):
        raise InputError("At temperature 0 each prompt has one continuation. Leave samples and top_p out, or raise it.")
    asked = {
        "max_new_tokens": max_new_tokens,
        "do_sample": False if greedy else True if temperature or top_p or (samples or 1) > 1 else None,
        "temperature": None if greedy else temperature,
        "top_p": top_p,
        "num_return_sequences": samples,
    }
    return {key: value for key, value in asked.items() if value is not None}
