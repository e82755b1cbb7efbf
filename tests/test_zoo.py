"""The zoo keeps what it promises: pictures that follow from seeds, and facts that hold without any code of ours."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from zoo import FAMILIES, Family, draw

PROMPTS = ["zzz zuzu u", "eee oror v"]  # of equal length, so that neither is padded more beside the other than alone
SPOTS = [(0, 2, -2), (-1, -2, 2)]  # frame, row and column of the noise


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_pictures_follow_from_prompts_and_seeds(family):
    state = torch.get_rng_state()
    pipe = family.build(0)
    pictures = draw(family, pipe, PROMPTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert pictures.isfinite().all()
    assert pictures.ndim == (5 if family.frames > 1 else 4)
    assert torch.equal(draw(family, family.build(0), PROMPTS), pictures)
    swapped = draw(family, pipe, [PROMPTS[1], PROMPTS[1]])
    assert (swapped[0] - pictures[0]).abs().mean() > 0.02 * pictures.std()
    torch.testing.assert_close(swapped[1], pictures[1], atol=1e-4, rtol=0)
    for other in draw(family, pipe, PROMPTS, seed=2), draw(family, family.build(1), PROMPTS):
        assert (other - pictures).abs().mean() > 0.1 * pictures.std()


def test_models_are_ready_for_use(family):
    parts = [part for part in family.build(0).components.values() if isinstance(part, torch.nn.Module)]
    assert not any(module.training for part in parts for module in part.modules())


def rows_of_text(family: Family, pipe: DiffusionPipeline, prompts: list[str], **settings: object) -> list[list[Tensor]]:
    """What each row of each of the denoiser's calls is given to read."""
    calls = []

    def listen(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        given = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
        calls.append([row.clone() for row in given[family.text]])

    handle = getattr(pipe, family.denoiser).register_forward_pre_hook(listen, with_kwargs=True)
    draw(family, pipe, prompts, **settings)
    handle.remove()
    return calls


def known_rows(family: Family, pipe: DiffusionPipeline) -> dict[tuple[str, str], Tensor]:
    """What a row reads: for each prompt what changes with the prompt, and what doesn't."""
    calls = [rows_of_text(family, pipe, [prompt])[: len(family.calls)] for prompt in PROMPTS]
    known = {}
    for rows in zip(*(chain(*step) for step in calls), strict=True):
        if torch.allclose(*rows):
            known["unconditional", ""] = rows[0]
        else:
            known |= {("conditional", prompt): row for prompt, row in zip(PROMPTS, rows, strict=True)}
    return known


def named(rows: list[Tensor], known: dict[tuple[str, str], Tensor]) -> list[tuple[str, str]]:
    def same(row: Tensor, other: Tensor) -> bool:
        return row.shape == other.shape and torch.allclose(row, other, atol=1e-4)

    return [next(name for name, other in known.items() if same(row, other)) for row in rows]


def test_rows_are_conditional_and_unconditional_in_the_stated_order(family):
    pipe = family.build(0)
    known = known_rows(family, pipe)
    several = "num_videos_per_prompt" if family.frames > 1 else "num_images_per_prompt"
    calls = rows_of_text(family, pipe, PROMPTS, **{several: 2})
    step = [
        [(role, prompt if role == "conditional" else "") for role in call for prompt in PROMPTS for _ in range(2)]
        for call in family.calls
    ]
    assert [named(rows, known) for rows in calls] == step * family.steps


def test_without_guidance_all_rows_are_conditional(family):
    pipe = family.build(0)
    calls = rows_of_text(family, pipe, PROMPTS, **family.unguided)
    known = known_rows(family, pipe)
    assert [named(rows, known) for rows in calls] == [[("conditional", prompt) for prompt in PROMPTS]] * family.steps


@contextmanager
def stained(family: Family, pipe: DiffusionPipeline, spot: tuple[int, int, int]) -> Iterator[list[tuple[int, int]]]:
    """The noise is another at one spot of the latents; gives the latents' height and width."""
    module = sys.modules[type(pipe).__module__]
    drawn, sizes = module.randn_tensor, []

    def stain(*args: object, **kwargs: object) -> Tensor:
        noise = drawn(*args, **kwargs)
        frame, row, column = spot
        (noise[:, :, frame] if family.frames > 1 else noise)[..., row, column] += 5
        sizes.append(tuple(noise.shape[-2:]))
        return noise

    module.randn_tensor = stain
    yield sizes
    module.randn_tensor = drawn


def outputs(family: Family, pipe: DiffusionPipeline, modules: list[str], prompts: list[str]) -> dict[str, object]:
    """What modules of the denoiser return in its first call, without guidance."""
    returned, handles = {}, []
    for name in modules:

        def keep(module: torch.nn.Module, args: tuple, output: object, name: str = name) -> None:
            returned.setdefault(name, output)

        handles.append(getattr(pipe, family.denoiser).get_submodule(name).register_forward_hook(keep))
    draw(family, pipe, prompts, **family.unguided)
    for handle in handles:
        handle.remove()
    return returned


def image_tokens(output: object, layout: str, count: int) -> Tensor:
    """The image tokens, row by row, of what a site returns."""
    if layout.startswith("("):
        output = output[layout[1:-1].split(", ").index("image")]
    if layout == "plane":
        return output.flatten(2).mT
    return output[:, -count:] if layout == "text image" else output[:, :count]


def place(family: Family, grid: tuple[int, int], size: tuple[int, int], spot: tuple[int, int, int]) -> int:
    """The token, counted along the grid's rows, that covers a spot of latents of some height and width."""
    height, width = grid[0] // family.frames, grid[1]
    frame, row, column = (index % count for index, count in zip(spot, (family.frames, *size), strict=True))
    return (frame * height + row * height // size[0]) * width + column * width // size[1]


@pytest.mark.parametrize("spot", SPOTS)
def test_a_spot_of_the_noise_is_one_token(family, spot):
    pipe = family.build(0)
    before = outputs(family, pipe, [family.tokens], PROMPTS[:1])[family.tokens]
    with stained(family, pipe, spot) as sizes:
        after = outputs(family, pipe, [family.tokens], PROMPTS[:1])[family.tokens]
    change = (after - before).abs()
    change = change.sum(1).flatten() if change.ndim > 3 else change.sum(-1).flatten()
    rows, columns = (change.nonzero() // family.grid[1]).float(), (change.nonzero() % family.grid[1]).float()
    # A convolution spreads the spot evenly around it.
    assert rows.mean() * family.grid[1] + columns.mean() == place(family, family.grid, sizes[0], spot)
    assert len(rows) == (9 if family.denoiser == "unet" else 1)


@pytest.mark.parametrize("spot", SPOTS)
def test_sites_hold_the_image_tokens_where_stated(family, spot):
    pipe = family.build(0)
    before = outputs(family, pipe, [*family.sites], PROMPTS[:1])
    with stained(family, pipe, spot) as sizes:
        after = outputs(family, pipe, [*family.sites], PROMPTS[:1])
    for site, layout in family.sites.items():
        grid = family.coarser.get(site, family.grid)
        tokens = [image_tokens(output[site], layout, prod(grid)) for output in (before, after)]
        assert tokens[0].shape[1] == prod(grid)
        found = int((tokens[1] - tokens[0])[0].norm(dim=-1).argmax())
        stated = place(family, grid, sizes[0], spot)
        # Convolutions on the way may move the peak to a neighbour.
        reach = 1 if family.denoiser == "unet" else 0
        assert abs(found // grid[1] - stated // grid[1]) <= reach, site
        assert abs(found % grid[1] - stated % grid[1]) <= reach, site


@pytest.mark.parametrize("name", [name for name, known in FAMILIES.items() if "text image" in known.sites.values()])
def test_image_tokens_begin_after_the_text_of_their_own_row_or_of_all(name):
    family, prompts = FAMILIES[name], ["zzz zuzu u and more", "eee"]
    pipe, count = family.build(0), prod(family.grid)
    site = next(site for site, layout in family.sites.items() if layout == "text image")
    before = outputs(family, pipe, [site], prompts)[site]
    with stained(family, pipe, SPOTS[0]) as sizes:
        change = (outputs(family, pipe, [site], prompts)[site] - before).norm(dim=-1)
    alone = [outputs(family, pipe, [site], [prompt])[site].shape[1] for prompt in prompts]
    ends = alone if family.ragged else [before.shape[1]] * 2
    token = place(family, family.grid, sizes[0], SPOTS[0])
    assert change.argmax(dim=-1).tolist() == [end - count + token for end in ends]
    assert family.ragged == (alone[0] != alone[1])
