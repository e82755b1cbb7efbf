"""What is known of a family of pipelines, apart from any code that has to find it out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import DiffusionPipeline

# The denoiser's calls of one step, in order. Each is the roles of its batch's parts, in order; a part's rows go
# prompt by prompt, and picture by picture within a prompt.
UNCONDITIONAL_FIRST = (("unconditional", "conditional"),)
CONDITIONAL_FIRST = (("conditional", "unconditional"),)
TWO_CALLS = (("conditional",), ("unconditional",))
NO_GUIDANCE = (("conditional",),)


@dataclass(frozen=True)
class Family:
    """A family: how its tiny pipeline is built and called, and facts that tests may hold against what they find.

    Attributes:
        name: Its key among the families.
        build: Makes the pipeline, whose weights follow from the seed alone.
        generation: Settings of a call with guidance on.
        unguided: Settings that, on top of those, turn guidance off.
        calls: The denoiser's calls of one step with guidance on.
        grid: Height and width of the image tokens, a video's frames stacked vertically; the latents' size for U-Nets.
        tokens: The denoiser's module that turns latents into image tokens before they meet text or one another; in a
            U-Net it is the first convolution.
        sites: Modules of the denoiser and how the image tokens lie in what they return: "tokens" where there is nothing
            else, "plane" where channels come before height and width, "text image" or "image text" for one sequence of
            both, and "(text, image)" or "(image, text)" for a pair of tensors. Image tokens that come first may be
            followed by padding.
        coarser: The grids of those sites that don't have the family's.
        ragged: Whether each row's image tokens follow right after its own text, however long the others' is.
        text: The denoiser's argument with the text embeddings.
        denoiser: The pipeline's attribute with the denoiser.
        pictures: Arguments that take a picture.
        frames: Frames of latents in a video; 1 for pictures.
        steps: Steps of the scheduler in one draw.
        held_back: Whether the family is kept for judging code that was written with the others at hand.
        experts: Whether experts take the tokens of all rows at once, so that other rows change the rounding.
    """

    name: str
    build: Callable[..., DiffusionPipeline]
    generation: Mapping[str, object]
    unguided: Mapping[str, object]
    calls: tuple[tuple[str, ...], ...]
    grid: tuple[int, int]
    tokens: str
    sites: Mapping[str, str]
    coarser: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ragged: bool = False
    text: str = "encoder_hidden_states"
    denoiser: str = "transformer"
    pictures: tuple[str, ...] = ()
    frames: int = 1
    steps: int = 2
    held_back: bool = False
    experts: bool = False

    @property
    def two_calls(self) -> bool:
        """Whether guidance takes two calls of the denoiser a step instead of one with a batch twice as long."""
        return len(self.calls) == 2

    def same_beside_others(self, one: torch.Tensor, two: torch.Tensor) -> bool:
        """Tell whether a row is the same beside other rows: bit for bit, but with experts to rounding."""
        return torch.allclose(one, two, atol=1e-5) if self.experts else torch.equal(one, two)


def family(**facts: Any) -> Callable[[Callable[[], DiffusionPipeline]], Family]:
    """Turn a function that makes a pipeline into the family of its name, of which these facts are known."""

    def describe(make: Callable[[], DiffusionPipeline]) -> Family:
        def build(seed: int = 0) -> DiffusionPipeline:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                pipe = make()
                for part in ("unet", "transformer", "vae"):
                    if part in pipe.components:
                        enliven(pipe.components[part])
            for part in pipe.components.values():
                if isinstance(part, torch.nn.Module):
                    part.eval()
            pipe.set_progress_bar_config(disable=True)
            return pipe

        return Family(name=make.__name__, build=build, **facts)

    return describe


def enliven(model: torch.nn.Module) -> None:
    """Scale the weights up to where a layer keeps the size of what it is given; else inputs make hardly a difference.

    Weights that start from zero get values of that size.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.any():
                parameter.mul_(3**0.5)
            elif parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
