"""SAFREE's text projection: the tokens that ask for a concept, moved out of its subspace."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .texts import Words, checked_words, concept_words, encoded, remembered, require

Ending = Literal["kept", "projected"]


def projection(rows: Tensor) -> Tensor:
    """P = Rᵀ (R Rᵀ)⁺ R, the orthogonal projection on what rows span.

    Args:
        rows: R, (n, channels).

    Returns:
        P, (channels, channels), in double precision.
    """
    _, sizes, basis = torch.linalg.svd(rows.double(), full_matrices=False)
    basis = basis[sizes > sizes.max() * 1e-6]
    return basis.T @ basis


def triggers(masked: Tensor, concept: Tensor, tolerance: float) -> Tensor:
    """Token i asks for the concept where |(I − P_C) m_i| ≥ (1 + α) · mean over j ≠ i of |(I − P_C) m_j|.

    With the token masked, the prompt lies further from the concept's subspace than with others masked.

    Args:
        masked: m, (tokens, channels): the prompt's pooled state with each token masked in turn.
        concept: P_C, (channels, channels).
        tolerance: α.

    Returns:
        (tokens,) whether each is one; of a single token that there is, it is.
    """
    rest = masked.double() - masked.double() @ concept
    distances = rest.norm(dim=1)
    others = (distances.sum() - distances) / max(len(distances) - 1, 1)
    return distances >= (1 + tolerance) * others


class Safree(Technique):
    """e_i ← e_i + s ((I − P_C) P_I e_i − e_i) at the tokens i that ask for the concept; the other states stay.

    P_C projects on the span of the pooled states of the concept's names; P_I on that of the prompt's own pooled states
    with one token masked in turn. Both are the text encoder's last layer, where pooled and token states share a space.

    This is SAFREE's choice of tokens and its projection alone. Left out: the self-validating filter, which takes the
    original states again after some steps, and the latent re-attention. Not confirmed, since the authors' code could
    only be read in copies: that (I − P_C) P_I is what made their figures, where the paper prints P_I (I − P_C); here it
    is the code's order. Their mask is token 0, which in Orchard's vocabulary begins a text; hence `mask`. They also
    give the concept's names as a negative prompt, which is `negative_prompt.py`'s business here.

    Args:
        words: `"label"`: the concepts' labels. `"source"`: whatever else only the source prompts call them, too.
        tolerance: α. The authors' is 0.01, at which two tokens in five of Orchard's prompts are taken for triggers, the
            concept in them or not; at 0.1 it is the concept's name and little else (fit prompts).
        mask: A text of one token, which stands for what is masked; "," means little in any vocabulary of CLIP's.
        ending: Whether the end of the text and the padding behind it stay (`"kept"`, the authors' code) or are
            projected as well wherever a token is (`"projected"`, ours).

    Raises:
        InputError: If a setting is unknown.

    Source: SAFREE: Training-Free and Adaptive Guard for Safe Text-to-Image And Video Generation, arXiv 2410.12761,
    equations 2 to 5.
    """

    unit_strength: ClassVar[str] = "The projected states; more goes on beyond the projection."
    source: ClassVar[str] = "arXiv 2410.12761, equations 2 to 5"

    def __init__(
        self, words: Words = "source", tolerance: float = 0.1, mask: str = ",", ending: Ending = "kept"
    ) -> None:
        if ending not in get_args(Ending):
            raise InputError(f"ending must be one of {', '.join(map(repr, get_args(Ending)))}, but is {ending!r}.")
        self.words, self.tolerance, self.mask, self.ending = checked_words(words), tolerance, mask, ending
        self.names: list[str] = []

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, "SAFREE", StableDiffusionPipeline)
        _mask_token(pipe, self.mask)  # refused here, not while pictures are drawn
        self.names = remembered(folder, lambda: {"names": concept_words(concepts, self.words)})["names"]

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        if strength == 0:
            yield as_asked
            return
        concept = projection(_pooled(pipe, _ids(pipe, self.names)))

        def arguments(texts: Sequence[str]) -> Mapping[str, Any]:
            states = encoded(pipe, texts, {}).states
            changed = [
                self.projected(pipe, text, state, concept, strength) for text, state in zip(texts, states, strict=True)
            ]
            return {"prompt_embeds": torch.stack(changed)}

        yield arguments

    def projected(self, pipe: DiffusionPipeline, text: str, states: Tensor, concept: Tensor, strength: float) -> Tensor:
        """Move a prompt's states.

        Args:
            pipe: The pipeline.
            text: The prompt.
            states: (tokens, channels) e.
            concept: (channels, channels) P_C.
            strength: s.

        Returns:
            As `states`.
        """
        ids = _ids(pipe, [text])[0]
        count = len(pipe.tokenizer(text, truncation=True).input_ids) - 2
        if count < 1:
            return states  # an empty prompt asks for nothing
        variants = ids.repeat(count, 1)
        variants[torch.arange(count), torch.arange(count) + 1] = _mask_token(pipe, self.mask)
        masked = _pooled(pipe, variants)
        moved = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        moved[1 : count + 1] = triggers(masked, concept, self.tolerance)
        if self.ending == "projected":
            moved[count + 1 :] = moved.any()
        inside = states.double() @ projection(masked)
        target = inside - inside @ concept
        return torch.where(moved[:, None], torch.lerp(states.double(), target, strength).to(states.dtype), states)


def _ids(pipe: DiffusionPipeline, texts: Sequence[str]) -> Tensor:
    length = pipe.tokenizer.model_max_length
    tokens = pipe.tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(pipe.device)


@torch.no_grad()
def _pooled(pipe: DiffusionPipeline, ids: Tensor) -> Tensor:
    return pipe.text_encoder(ids).pooler_output


def _mask_token(pipe: DiffusionPipeline, mask: str) -> int:
    ids = pipe.tokenizer(mask, add_special_tokens=False).input_ids
    if len(ids) != 1 or ids[0] in pipe.tokenizer.all_special_ids:
        raise InputError(
            f"mask is {mask!r}, which is no single ordinary token of this pipeline's tokenizer. Give another short "
            "text, such as a letter."
        )
    return ids[0]
