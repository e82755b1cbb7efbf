"""Strikes the concept's word from the prompt: what a filter in front of the pipeline could do at best."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .texts import remembered, require

#: What may stand before the noun, and goes with it.
_ARTICLE = r"(?:an?|the|some|one|two|three|four|five|many|several|no)"
#: Words that are no adjective between an article and its noun.
_NO_ADJECTIVE = r"(?!(?:of|and|or|with|on|in|at|to|by|beside|near|above|below|under|over|behind)\b)"
_PLACE = r"(?:\s+(?:at|on|in) the (?:left|right|top|bottom|cent(?:re|er)|middle|foreground|background))?+"
#: What joins two things.
_JOIN = (
    r"(?:and|or|with|beside|next to|near|by|above|below|over|under|behind|in front of|on top of|"
    r"to the (?:left|right) of|on the (?:left|right) of)"
)


def without(text: str, name: str) -> str:
    """Strike a thing from a prompt, with its article, adjectives and place, and with what joins it to another.

    "a banana to the left of a cup, on a table" becomes "a cup, on a table", "a photo of a banana on a table"
    "a photo of a table", "a banana" nothing at all. Where the thing is not named, the prompt stays as it is.

    Args:
        text: The prompt.
        name: The thing's name in the singular; its plural goes, too.
    """
    plural = re.escape(name[:-1]) + "ies|" if name.endswith("y") else ""
    noun = rf"\b(?:{plural}{re.escape(name)}(?:e?s)?)\b"
    if not re.search(noun, text, re.IGNORECASE):
        return text
    adjectives = rf"(?:{_NO_ADJECTIVE}[\w-]+\s+){{0,2}}?"
    thing = rf"(?:\b{_ARTICLE}\s+(?:(?:bunch|pair|group|lot|couple) of\s+)?{adjectives})?{noun}{_PLACE}"
    for pattern, instead in (
        (rf"{thing}\s*,?\s*\b{_JOIN}\s+", ""),  # a banana and …
        (rf"\s*,?\s*\b{_JOIN}\s+{thing}", ""),  # … and a banana
        (rf"{thing}\s*,?\s+(?:on|in|at|under|against)\s+", ""),  # a banana on a table
        (rf"\s*,\s*{thing}|{thing}\s*,\s*", ""),  # an apple, a banana
        (rf"(?:\s+\b(?:of|by|showing|in the style of)\s+)?{thing}", ""),
    ):
        text = re.sub(pattern, instead, text, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", text).strip(" ,")


class WordRemoval(Technique):
    """p without every name of a concept, for any s > 0.

    An oracle for prompts that name the concept: it is told in words what to leave out. It can't help where the concept
    is asked for without its name, which is the point of having it beside the others.

    Source: Ours; the plainest filter that there is.
    """

    unit_strength: ClassVar[str] = "The word is struck; any strength above 0 means the same."
    source: ClassVar[str] = "ours"
    oracle: ClassVar[bool] = True

    def __init__(self) -> None:
        self.names: list[str] = []

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, "Word removal", DiffusionPipeline)
        learned = remembered(folder, lambda: {"names": [concept.concept.label for concept in concepts]})
        self.names = list(learned["names"])

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        def struck(texts: Sequence[str]) -> Mapping[str, Any]:
            return {"prompt": [self._struck(text) for text in texts]}

        yield as_asked if strength == 0 else struck

    def _struck(self, text: str) -> str:
        for name in self.names:
            text = without(text, name)
        return text
