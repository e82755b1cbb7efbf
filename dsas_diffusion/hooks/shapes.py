"""What sites hold when a picture is drawn: how many positions, on which grid, and what stands beside the image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from ..core.features import grid_of
from ..errors import InputError
from .call_reader import CallReader
from .discovery import image_index
from .guidance import denoiser_of
from .sites import Site, watch

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


class Shape(NamedTuple):
    """What a site held in the first call of a denoiser.

    Args:
        positions: All of them.
        grid: Height and width of the image's.
        beside: How many positions stand beside the image's: of text, reference images or padding.
        returned: Where in what its module hands out the image stream is: `"alone"`, or such as `"2 of 2"`.
    """

    positions: int
    grid: tuple[int, int]
    beside: int
    returned: str


def shapes_of(pipe: "DiffusionPipeline", sites: Sequence[Site], generation: Mapping[str, Any]) -> dict[str, Shape]:
    """Draw one picture in one step and look at every site.

    Args:
        pipe: The pipeline; it comes out as it went in.
        sites: What to look at.
        generation: Further arguments of the pipeline's call.

    Returns:
        Shapes by path. Sites that never ran are missing.

    Raises:
        InputError: If the pipeline can't draw without more arguments.
    """
    denoiser = denoiser_of(pipe)
    found: dict[str, Shape] = {}
    call: Any = pipe
    handles = []
    with CallReader(pipe) as calls:

        def look(site: Site, activation: Tensor) -> None:
            total = activation.shape[1]
            image = calls.call.image_of(activation).shape[1]
            returned = "alone" if site.is_head else returns.get(site.module, "alone")
            grid = grid_of(image, calls.call.grid)
            found.setdefault(site.path, Shape(total, grid, total - image, returned))

        def note(path: str, output: Any) -> None:
            if not isinstance(output, Tensor):
                index = image_index(type(denoiser.get_submodule(path)))
                returns.setdefault(path, f"{index + 1} of {len(output)}")

        returns: dict[str, str] = {}
        for path in dict.fromkeys(site.module for site in sites if not site.is_head):
            module = denoiser.get_submodule(path)
            handles.append(module.register_forward_hook(lambda _, args, output, path=path: note(path, output)))
        try:
            for site in sites:
                handles.append(watch(denoiser, site, lambda activation, site=site: look(site, activation)))
            call(prompt="a photo", output_type="latent", **{"num_inference_steps": 1, **generation})
        except TypeError as error:
            raise InputError(
                f"{type(pipe).__name__} can't draw from a prompt alone: {error}. Inspect it with --static, which lists "
                "sites without their shapes."
            ) from error
        finally:
            for handle in handles:
                handle.remove()
    return found
