"""What a recipe is fitted and measured on: prompts, texts and questions, of the hub or of Orchard."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ..errors import InputError
from ..evaluation.multiple_choice import Choice
from ..prompt_set import FIT_GROUPS
from ..prompts import Concept, Prompt, PromptSet, load_prompts
from ..texts.by_name import read_questions, read_texts
from ..words import key_of
from .protocol import Data

#: The authors' script shuffles RTP and TET with this seed.
SHUFFLE: Final = 42
#: An RTP prompt's toxicity from which on it is a source prompt, and up to which it is a target or control one: the
#: outer two of the four bins in which RTP was collected.
TOXIC, HARMLESS = 0.75, 0.25
#: ToxiGen's ratings by people, 1 to 5, likewise.
TOXIC_RATING, HARMLESS_RATING = 4.0, 2.0
#: A line of fewer words is a heading or a scrap.
_WORDS: Final = 10


@dataclass(frozen=True)
class Material:
    """What one model is fitted and measured on; no prompt is in two parts.

    Args:
        concept: What is to be suppressed.
        pool: `"source"`, `"target"` and `"control"` → prompts to draw fits from.
        tuning: Prompts to choose λ on.
        heldout: `"rtp"` and `"tet"` → prompts for figures.
        tuning_texts: Texts to choose λ on.
        texts: Texts whose perplexity is measured.
        questions: Questions with answers to choose from.
    """

    concept: Concept
    pool: Mapping[str, Sequence[str]]
    tuning: Sequence[str]
    heldout: Mapping[str, Sequence[str]]
    tuning_texts: Sequence[str]
    texts: Sequence[str]
    questions: Sequence[Choice] = ()

    def drawn(self, count: int, seed: int) -> PromptSet:
        """Draw the prompts of one fit at random, without putting any back.

        Args:
            count: Of each group.
            seed: The same seed draws the same ones.

        Raises:
            InputError: If the pool holds too few.
        """
        return draw_set(f"{self.concept.label}-{seed}", self.concept, self.pool, count, seed)


def draw_set(name: str, concept: Concept, pool: Mapping[str, Sequence[str]], count: int, seed: int) -> PromptSet:
    """Draw a prompt set from larger groups, at random, without putting any back.

    Args:
        name: What it is called.
        concept: What it is about.
        pool: `"source"`, `"target"` and `"control"` → texts.
        count: Of each group.
        seed: The same seed draws the same ones.

    Raises:
        InputError: If a group holds too few.
    """
    groups = {}
    for group in FIT_GROUPS:
        if len(pool[group]) < count:
            raise InputError(
                f"There are {len(pool[group])} {group} prompts to draw from, but {count} are asked for. Lower "
                "prompts_a_set, or name larger data."
            )
        rng = random.Random(f"recipe {seed} {group}")
        groups[group] = tuple(Prompt(text) for text in rng.sample(list(pool[group]), count))
    return PromptSet(name, groups["source"], groups["target"], groups["control"], concept)


def load_material(data: Data, tokenizer: Any) -> Material:
    """Load what a model is fitted and measured on.

    Args:
        data: Where it comes from.
        tokenizer: The model's, by which texts are cut off.

    Raises:
        InputError: If a data set can't be loaded, lacks a field, or holds too little.
    """
    found = _from_orchard(data) if data.kind == "orchard" else _from_hub(data)
    if data.tokens_of_texts is None:
        return found
    texts, tuning = (
        [shortened(tokenizer, text, data.tokens_of_texts) for text in part]
        for part in (found.texts, found.tuning_texts)
    )
    return replace(found, texts=texts, tuning_texts=tuning)


def shortened(tokenizer: Any, text: str, tokens: int) -> str:
    """Cut a text off after so many tokens.

    Args:
        tokenizer: What counts them; those that it adds are not counted.
        text: The text.
        tokens: How many stay at most.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens])


def _from_orchard(data: Data) -> Material:
    sets = [load_prompts(name) for name in data.source("fit").split()]
    heldout, sizes = load_prompts(data.source("heldout")), data.sizes
    apart = {key_of(text) for group in heldout.groups() if "_" in group for text in heldout.texts(group)}
    pool = {group: list(_unseen((text for each in sets for text in each.texts(group)), apart)) for group in FIT_GROUPS}
    return Material(
        concept=heldout.concept,
        pool=pool,
        tuning=heldout.texts("tuning_source")[: sizes.tuning_prompts],
        heldout={
            "rtp": heldout.texts("heldout_source")[: sizes.rtp],
            "tet": heldout.texts("heldout_mixed")[: sizes.tet],
        },
        tuning_texts=read_texts("orchard", "tuning")[: sizes.tuning_texts],
        texts=read_texts("orchard")[: sizes.texts],
        questions=read_questions("orchard")[: sizes.questions],
    )


def _from_hub(data: Data) -> Material:
    sizes, apart = data.sizes, set[str]()
    toxicity = rtp_prompts(data.source("rtp"))
    order = list(_unseen(toxicity, apart))
    if len(order) < sizes.rtp + sizes.tuning_prompts:
        raise InputError(
            f"{data.source('rtp')} holds {len(order)} different prompts with a toxicity, but {sizes.rtp} are to be "
            f"measured and {sizes.tuning_prompts} to choose λ on. Lower the protocol's sizes, or name larger data."
        )
    held, rest = order[: sizes.rtp], order[sizes.rtp :]
    tuning, rest = rest[: sizes.tuning_prompts], rest[sizes.tuning_prompts :]
    harmless = [text for text in rest if toxicity[text] <= HARMLESS]
    tet = list(_unseen(_shuffled(tet_prompts(data.source("tet"))), apart))
    return Material(
        concept=Concept("toxic", "a toxic continuation"),
        pool={
            "source": [text for text in rest if toxicity[text] >= TOXIC],
            "target": harmless[::2],
            "control": harmless[1::2],
        },
        tuning=tuning,
        heldout={"rtp": held, "tet": tet[: sizes.tet]},
        tuning_texts=hub_texts(data.source("tuning_texts"))[: sizes.tuning_texts],
        texts=hub_texts(data.source("texts"))[: sizes.texts],
    )


def rtp_prompts(source: str) -> dict[str, float]:
    """Give RealToxicityPrompts' prompts with their toxicity, shuffled.

    Args:
        source: As for :func:`hub_rows`.

    Raises:
        InputError: As for :func:`hub_rows`.

    Source: Gehman et al., RealToxicityPrompts, arXiv 2009.11462.
    """
    rows = [row["prompt"] for row in hub_rows(source, "prompt")]
    return {row["text"]: row["toxicity"] for row in _shuffled(rows) if row["text"] and row["toxicity"] is not None}


def tet_prompts(source: str) -> list[str]:
    """Give the queries of Thoroughly Engineered Toxicity of which some metric says TOXIC, as the authors' script does.

    Args:
        source: As for :func:`hub_rows`.

    Raises:
        InputError: As for :func:`hub_rows`.

    Source: Luong et al., Realistic Evaluation of Toxicity in Large Language Models, arXiv 2405.10659.
    """
    return [
        row["query"] for row in hub_rows(source, "query", "metrics") if any("TOXIC" in each for each in row["metrics"])
    ]


def toxigen_prompts(source: str) -> dict[str, list[str]]:
    """Give ToxiGen's texts that people rated as harmful, and those that they rated as harmless, shuffled.

    Args:
        source: As for :func:`hub_rows`.

    Returns:
        `"source"` and `"control"` → texts.

    Raises:
        InputError: As for :func:`hub_rows`.

    Source: Hartvigsen et al., ToxiGen, arXiv 2203.09509.
    """
    rows = _shuffled([(row["text"], row["toxicity_human"]) for row in hub_rows(source, "text", "toxicity_human")])
    return {
        "source": list(_unseen((text for text, rating in rows if rating >= TOXIC_RATING), set())),
        "control": list(_unseen((text for text, rating in rows if rating <= HARMLESS_RATING), set())),
    }


def hub_texts(source: str) -> list[str]:
    """Give the field `text` of rows that are a sentence or more.

    Args:
        source: As for :func:`hub_rows`.

    Raises:
        InputError: As for :func:`hub_rows`.
    """
    texts = [str(row["text"]).strip() for row in hub_rows(source, "text")]
    return [text for text in texts if not text.startswith("=") and len(text.split()) >= _WORDS]


def hub_rows(source: str, *fields: str) -> list[dict[str, Any]]:
    """Load a data set by `datasets`.

    Args:
        source: An id on the hub; `id:configuration:split` for one of several, the split being `train` where none is
            named; or a `.jsonl` file with the same fields.
        fields: What every row must have.

    Raises:
        InputError: If `datasets` is not installed, the data set is out of reach, or it lacks a field.
    """
    try:
        from datasets import load_dataset
        from datasets.utils.logging import disable_progress_bar
    except ImportError as error:
        raise InputError(
            f"{source!r} is loaded by the library datasets, which is not installed. Install it by "
            "`pip install 'dsas-diffusion[tasks]'`, or take --model orchard, which needs none."
        ) from error
    disable_progress_bar()
    name, _, rest = source.partition(":")
    configuration, _, split = rest.partition(":")
    try:
        if Path(source).suffix == ".jsonl":
            with TemporaryDirectory() as cache:
                found = load_dataset("json", data_files=source, split="train", cache_dir=cache, keep_in_memory=True)
                rows = list(found)
        else:
            rows = list(load_dataset(name, configuration or None, split=split or "train"))
    except Exception as error:  # the hub, the network, the disk and four libraries have kinds of their own
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"The data set {source!r} could not be loaded: {said.rstrip('.')}. Check the name and whether the hub can "
            "be reached and its terms are accepted; or name a .jsonl file with the same fields; or take --model "
            "orchard, which needs none."
        ) from error
    missing = next((field for field in fields if not rows or field not in rows[0]), None)
    if missing is not None:
        raise InputError(f"The data set {source!r} has no field {missing!r}. Needed are {', '.join(fields)}.")
    return rows


def _shuffled(rows: Sequence[Any]) -> list[Any]:
    order = list(rows)
    random.Random(SHUFFLE).shuffle(order)
    return order


def _unseen(texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Give each text once, and none that was seen before; what is given counts as seen."""
    for text in texts:
        key = key_of(text)
        if key and key not in seen:
            seen.add(key)
            yield text
