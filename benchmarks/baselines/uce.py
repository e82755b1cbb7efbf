"""Unified Concept Editing: cross-attention's keys and values rewritten in closed form."""

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import Conditions

from .texts import Words, checked_words, concept_words, encoded
from .weights import WeightEdit

Positions = Literal["last", "rest"]
#: A state per row.
States = Tensor


def edited(
    weight: Tensor, erased: States, instead: States, preserved: States, erase: float, preserve: float, ridge: float
) -> Tensor:
    """W' = (a Σ W c* cᵀ + b Σ W p pᵀ + r W) (a Σ c cᵀ + b Σ p pᵀ + r I)⁻¹.

    Args:
        weight: W, (out, in).
        erased: The states c, (n, in).
        instead: The states c* whose keys or values they get, (n, in).
        preserved: The states p that keep theirs, (m, in).
        erase: a.
        preserve: b.
        ridge: r.

    Returns:
        W', (out, in), in double precision.
    """
    w, c, to, p = (tensor.double() for tensor in (weight, erased, instead, preserved))
    old = erase * c.T @ c + preserve * p.T @ p + ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
    # W' A = W (A + a (C* − C)ᵀ C), so that only the change is solved for.
    return w + erase * torch.linalg.solve(old, c.T @ (to - c) @ w.T).T


class Uce(WeightEdit):
    """W' = (a Σ W c* cᵀ + b Σ W p pᵀ + r W) (a Σ c cᵀ + b Σ p pᵀ + r I)⁻¹;  W ← W + s (W' − W).

    W are all cross-attention's `to_k` and `to_v`; c are text states of the concept's names, c* those of what takes
    their place, p those of whole target and control prompts, as far as no name stands in them.

    Args:
        words: `"label"`: the concepts' labels alone are erased. `"source"`: whatever else only the source prompts call
            them, too.
        guide: The text that takes the concept's place; "" as in the authors' code for objects.
        positions: `"last"`: the state of a name's last token, as the authors' newest code has it. `"rest"`: all from
            there to the end of the text, each in the place of its like, as their first code has it: the end of text and
            the padding behind it carry the concept, too.
        erase: a.
        preserve: b.
        ridge: r, λ in the authors' code.

    Raises:
        InputError: If a setting is unknown or out of range.

    Source: Unified Concept Editing in Diffusion Models, arXiv 2308.14761, equation 7; weights of the sums and ridge as
    in the authors' code.
    """

    unit_strength: ClassVar[str] = "The closed form's change of the weights; more goes on along it."
    source: ClassVar[str] = "arXiv 2308.14761, equation 7"
    called: ClassVar[str] = "UCE"
    kinds: ClassVar[tuple[type[DiffusionPipeline], ...]] = (StableDiffusionPipeline,)

    def __init__(
        self,
        words: Words = "source",
        guide: str = "",
        positions: Positions = "rest",
        erase: float = 1.0,
        preserve: float = 1.0,
        ridge: float = 0.5,
    ) -> None:
        super().__init__()
        if positions not in get_args(Positions):
            raise InputError(
                f"positions must be one of {', '.join(map(repr, get_args(Positions)))}, but is {positions!r}."
            )
        if erase <= 0 or preserve < 0 or ridge <= 0:
            raise InputError(
                f"erase is {erase}, preserve {preserve} and ridge {ridge}; accepted are numbers above 0, for preserve "
                "0, too."
            )
        self.words, self.guide, self.positions = checked_words(words), guide, positions
        self.erase, self.preserve, self.ridge = erase, preserve, ridge

    @torch.no_grad()
    def learned(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions
    ) -> dict[str, Tensor]:
        """Give W' − W for every key and value projection.

        Args:
            pipe: The pipeline.
            concepts: What is erased together.
            conditions: Not asked for: the closed form draws nothing.
        """
        names = concept_words(concepts, self.words)
        others = [text for one in concepts for text in one.texts("target") + one.texts("control")]
        others = [text for text in dict.fromkeys(others) if not any(name in text for name in names)]
        pairs = [self._pair(pipe, name) for name in names]
        erased, instead = (torch.cat(side) for side in zip(*pairs, strict=True))
        preserved = torch.cat([self._whole(pipe, text) for text in others])
        return {
            f"{name}.weight": edited(
                module.weight, erased, instead, preserved, self.erase, self.preserve, self.ridge
            ).float()
            - module.weight.float()
            for name, module in pipe.unet.named_modules()
            if name.endswith(("attn2.to_k", "attn2.to_v"))
        }

    def _pair(self, pipe: DiffusionPipeline, name: str) -> tuple[States, States]:
        old, new = self._from_last(pipe, name), self._from_last(pipe, self.guide)
        shared = min(len(old), len(new))
        return old[:shared], new[:shared]

    def _from_last(self, pipe: DiffusionPipeline, text: str) -> States:
        last = _last(pipe, text)
        states = encoded(pipe, [text], {}).states[0]
        return states[last : last + 1] if self.positions == "last" else states[last:]

    def _whole(self, pipe: DiffusionPipeline, text: str) -> States:
        states = encoded(pipe, [text], {}).states[0]
        return states[: _last(pipe, text) + 1] if self.positions == "last" else states


def _last(pipe: DiffusionPipeline, text: str) -> int:
    return len(pipe.tokenizer(text, truncation=True).input_ids) - 2  # before the end of the text
