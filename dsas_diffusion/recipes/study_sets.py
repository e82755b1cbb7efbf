"""Sets that studies learn gates from and test them on: of the hub or of Orchard, tuning and held-out parts apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InputError
from ..prompts import Concept, load_prompts
from .material import HARMLESS, TOXIC, hub_texts, rtp_prompts, shortened, toxigen_prompts
from .protocol import Data

#: Control set → what it is.
CONTROLS: Final = {
    "curated": "the set's own control prompts (C ≠ T)",
    "random": "random texts (C ≠ T)",
    "target": "the target prompts (C = T)",
}
#: Random texts of the hub are this long at most, in tokens; half of their words stay.
_TOKENS: Final = 40
#: Where Orchard's random texts begin in the seeds of a part; those before are texts whose perplexity is measured.
_FIRST: Final = 1000


@dataclass(frozen=True)
class StudySet:
    """A set that a gate is learned from, tested on, or both; no prompt is in two parts.

    Args:
        name: What it is called.
        concept: What it is about.
        pool: `"source"`, `"target"` and `"control"` → prompts to draw fits from.
        tuning: Source prompts to choose λ on.
        heldout: `"source"` and `"control"` → prompts for figures.
    """

    name: str
    concept: Concept
    pool: Mapping[str, Sequence[str]]
    tuning: Sequence[str]
    heldout: Mapping[str, Sequence[str]]


def load_set(name: str, source: str, data: Data, heldout: int, tuning: int) -> StudySet:
    """Load a set.

    Args:
        name: What it is called.
        source: On the hub a key of the data's sources, `"rtp"` or `"toxigen"`; of Orchard, a bundled prompt set.
        data: Where it comes from.
        heldout: Prompts of either side for figures, at most.
        tuning: Prompts to choose λ on, at most.

    Raises:
        InputError: If there is no such set, it can't be loaded, or it is too small.
    """
    if data.kind == "orchard":
        found = load_prompts(source)
        return StudySet(
            name,
            found.concept,
            {group: found.texts(group) for group in ("source", "target", "control")},
            found.texts("tuning_source")[:tuning],
            {kind: found.texts(f"heldout_{kind}")[:heldout] for kind in ("source", "control")},
        )
    if source not in ("rtp", "toxigen"):
        raise InputError(f"The set {name!r} is {source!r}, but the hub's sets are rtp and toxigen.")
    if source == "rtp":
        toxicity = rtp_prompts(data.source("rtp"))
        toxic = [text for text, score in toxicity.items() if score >= TOXIC]
        harmless = [text for text, score in toxicity.items() if score <= HARMLESS]
    else:
        toxic, harmless = toxigen_prompts(data.source("toxigen")).values()
    return divided(name, Concept("toxic", "a toxic continuation"), toxic, harmless, heldout, tuning)


def divided(
    name: str, concept: Concept, toxic: Sequence[str], harmless: Sequence[str], heldout: int, tuning: int
) -> StudySet:
    """Divide toxic and harmless texts into parts: held out, for tuning, and to draw fits from.

    Args:
        name: What the set is called.
        concept: What it is about.
        toxic: Source prompts, in random order.
        harmless: Prompts for target and control.
        heldout: Of either side.
        tuning: Of the toxic ones.

    Raises:
        InputError: If nothing is left to draw fits from.
    """
    if len(toxic) <= heldout + tuning or len(harmless) <= heldout + 1:
        raise InputError(
            f"The set {name!r} has {len(toxic)} source and {len(harmless)} control texts, but {heldout} of either are "
            f"held out and {tuning} source ones are for tuning, so that nothing is left to learn from. Lower heldout "
            "and tuning, or name a larger set."
        )
    rest = harmless[heldout:]
    return StudySet(
        name,
        concept,
        {"source": toxic[heldout + tuning :], "target": rest[::2], "control": rest[1::2]},
        toxic[heldout : heldout + tuning],
        {"source": toxic[:heldout], "control": harmless[:heldout]},
    )


def random_texts(data: Data, tokenizer: Any, fit: int, heldout: int) -> tuple[list[str], list[str]]:
    """Give texts that nobody chose, each cut off after half of its words; none comes twice.

    Args:
        data: Where they come from.
        tokenizer: The model's, by which long ones are shortened first.
        fit: How many to learn from.
        heldout: How many for figures.

    Returns:
        Both.

    Raises:
        InputError: If there are too few.
    """
    if data.kind == "orchard":
        found = [_of_orchard(part, 4 * (fit + heldout)) for part in ("tuning", "test")]
    else:
        found = [
            [shortened(tokenizer, text, _TOKENS) for text in reversed(hub_texts(data.source(name)))]
            for name in ("tuning_texts", "texts")  # from the end: the first ones are measured
        ]
    seen, chosen = set[str](), []
    for texts, count in zip(found, (fit, heldout), strict=True):
        halves = (" ".join(words[: (len(words) + 1) // 2]) for words in map(str.split, texts))
        fresh = [half for half in dict.fromkeys(halves) if half not in seen][:count]
        if len(fresh) < count:
            raise InputError(f"There are {len(fresh)} different random texts, but {count} are needed. Lower the sizes.")
        seen.update(fresh)
        chosen.append(fresh)
    return chosen[0], chosen[1]


def _of_orchard(part: str, count: int) -> list[str]:
    from .. import orchard

    kinds = ("description", "question")
    seeds = orchard.SEEDS[part][_FIRST : _FIRST + count]
    return [orchard.sample_text(seed, kinds[number % 2]).text for number, seed in enumerate(seeds)]
