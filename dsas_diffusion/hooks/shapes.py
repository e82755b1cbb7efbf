"""What sites hold when a picture is drawn: how many positions, on which grid, and what stands beside the image."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .discovery import image_index
from .hosts import Host
from .sites import Site, watch


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


def shapes_of(host: Host, sites: Sequence[Site], generation: Mapping[str, Any]) -> dict[str, Shape]:
    """Draw one picture in one step, or read a few tokens, and look at every site.

    Args:
        host: What holds the sites; its pipeline comes out as it went in.
        sites: What to look at.
        generation: Further arguments of the pipeline's call.

    Returns:
        Shapes by path. Sites that never ran are missing.

    Raises:
        InputError: If the pipeline can't draw without more arguments.
    """
    found: dict[str, Shape] = {}
    handles = []
    with host.reader() as calls:

        def look(site: Site, activation: Tensor) -> None:
            total = activation.shape[1]
            image = calls.call.positions_of(activation).shape[1]
            returned = "alone" if site.is_head else returns.get(site.module, "alone")
            found.setdefault(site.path, Shape(total, calls.call.grid_at(image), total - image, returned))

        def note(path: str, output: Any) -> None:
            if not isinstance(output, Tensor):
                index = image_index(type(host.model.get_submodule(path)))
                returns.setdefault(path, f"{index + 1} of {len(output)}")

        returns: dict[str, str] = {}
        for path in dict.fromkeys(site.module for site in sites if not site.is_head):
            module = host.model.get_submodule(path)
            handles.append(module.register_forward_hook(lambda _, args, output, path=path: note(path, output)))
        try:
            for site in sites:
                handles.append(watch(host.model, site, lambda activation, site=site: look(site, activation)))
            host.run_once(generation)
        finally:
            for handle in handles:
                handle.remove()
    return found
