"""Every family of pipelines: fit, attach, draw, save, load, draw the same, detach; the right rows, the right grid."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tiny import hooks_left, open_steerer, tiny_concept
from zoo import FAMILIES, Family, draw, pictures

import dsas_diffusion as dsas
from dsas_diffusion.hooks.discovery import image_index
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.hooks.hosts import DenoiserHost
from dsas_diffusion.hooks.shapes import shapes_of
from dsas_diffusion.hooks.sites import PRESETS, all_sites, find_sites

PROMPTS = ["zzz zuzu", "eee oror"]


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(family):
    return family.build()


@pytest.fixture(scope="module")
def steerer(family, pipe):
    """Open everywhere, so that every row and position that may change does."""
    with warnings.catch_warnings():
        if not family.held_back:  # an order that is only assumed
            warnings.filterwarnings("error", message="In which order")
        return open_steerer(pipe, generation=generation(family))


@pytest.fixture(scope="module")
def plain(family, pipe):
    return draw(family, pipe, PROMPTS)


def generation(family: Family) -> dict[str, object]:
    return {**family.generation, **pictures(family)}


def left_behind(pipe) -> list[str]:
    """Hooks of any kind in the denoiser, and attributes of the pipeline itself, that steering may have left."""
    hooks = hooks_left(pipe)
    return [f"{hooks} hooks"] * bool(hooks) + [
        name for name in ("prepare_latents", "check_inputs", "encode_prompt", "_dsas_adapters") if name in vars(pipe)
    ]


def test_steering_changes_pictures_and_leaves_no_trace(family, pipe, steerer, plain, tmp_path):
    with steerer.attached(pipe, 0.0):
        assert torch.equal(draw(family, pipe, PROMPTS), plain)
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
    assert (steered - plain).abs().amax() > 0.01
    assert left_behind(pipe) == []
    assert torch.equal(draw(family, pipe, PROMPTS), plain)
    steerer.save_pretrained(tmp_path / "steerer")
    with dsas.Steerer.from_pretrained(tmp_path / "steerer").attached(pipe):
        assert torch.equal(draw(family, pipe, PROMPTS), steered)


def test_each_prompt_has_its_own_strength(family, pipe, steerer, plain):
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
    with steerer.attached(pipe, [4.0, 0.0]):
        mixed = draw(family, pipe, PROMPTS)
    assert torch.allclose(mixed[0], steered[0], atol=1e-5)
    assert family.same_beside_others(mixed[1], plain[1])


@contextmanager
def outputs_of(denoiser, path: str) -> Iterator[list[torch.Tensor]]:
    """What a module hands out in each call, the image stream of it."""
    seen: list[torch.Tensor] = []

    def look(module, args, output):
        seen.append(output if isinstance(output, torch.Tensor) else output[image_index(type(module))])

    handle = denoiser.get_submodule(path).register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("half", ["conditional", "unconditional"])
def test_the_rows_of_one_half_are_steered(family, pipe, steerer, half):
    if family.calls == (("conditional",),) and half == "unconditional":
        with pytest.raises(dsas.InputError, match="guidance is off"), steerer.attached(pipe, half=half):
            draw(family, pipe, PROMPTS)
        return
    path = next(iter(steerer.sites))
    with outputs_of(denoiser_of(pipe), path) as before:
        draw(family, pipe, PROMPTS)
    with outputs_of(denoiser_of(pipe), path) as after, steerer.attached(pipe, half=half):
        draw(family, pipe, PROMPTS)
    for parts, one, other in zip(family.calls, before, after, strict=False):  # the first step's calls
        changed = [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]
        each = len(changed) // len(parts)
        assert changed == [part == half for part in parts for _ in range(each)]


def test_without_guidance_every_row_is_steered(family, pipe, steerer):
    settings = dict(family.unguided)
    unsteered = draw(family, pipe, PROMPTS, **settings)
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS, **settings)
    assert all((a - b).abs().amax() > 1e-3 for a, b in zip(unsteered, steered, strict=True))


def test_only_image_positions_change(family, pipe, steerer):
    for path in steerer.sites:
        layout = family.sites.get(path)
        if layout not in ("text image", "image text"):
            continue
        with outputs_of(denoiser_of(pipe), path) as before:
            draw(family, pipe, PROMPTS[:1])
        only = dsas.Steerer([steerer.sites[path]], steerer.manifest)
        with outputs_of(denoiser_of(pipe), path) as after, only.attached(pipe):
            draw(family, pipe, PROMPTS[:1])
        conditional = family.calls[0].index("conditional")
        changed = (after[0] - before[0])[conditional].abs().amax(-1) > 0
        count = family.grid[0] * family.grid[1]
        assert changed.sum() == count
        first = 0 if layout == "image text" else int(changed.nonzero()[0])
        assert changed[first : first + count].all()
        if layout == "text image" and not family.ragged:
            assert first == len(changed) - count


@pytest.mark.parametrize("preset", ["blocks", "norms", "resnets", "self-attention", "attention-heads"])
def test_other_presets_steer_and_come_out_again(family, pipe, plain, preset):
    if not any(site.kind in PRESETS[preset] for site in all_sites(denoiser_of(pipe))):
        with pytest.raises(dsas.InputError, match="matches nothing in this"):
            find_sites(denoiser_of(pipe), preset)
        return
    steerer = open_steerer(pipe, sites=preset, generation=generation(family))
    with steerer.attached(pipe, record_gates=True) as run:
        assert not torch.equal(draw(family, pipe, PROMPTS), plain)
    grids = {tuple(found.shape[2:]) for found in run.gate_maps().values()}
    assert family.grid in grids or family.denoiser == "unet"
    assert torch.equal(draw(family, pipe, PROMPTS), plain)
    assert left_behind(pipe) == []


def test_gate_maps_have_the_grid_of_the_image(family, pipe, steerer):
    with steerer.attached(pipe, 0.0, record_gates=True) as run:
        draw(family, pipe, PROMPTS)
    maps = run.gate_maps()
    assert maps.keys() == steerer.sites.keys()
    calls = 2
    for path, found in maps.items():
        assert found.shape[:2] == (calls, len(PROMPTS))
        if family.denoiser == "transformer":
            assert tuple(found.shape[2:]) == family.grid
        elif path in family.coarser:
            assert tuple(found.shape[2:]) == family.coarser[path]
    assert run.concept_map(8, 8).shape == (len(PROMPTS), 8, 8)
    assert left_behind(pipe) == []


def test_shapes_are_those_of_the_family(family, pipe):
    sites = find_sites(denoiser_of(pipe), ["auto", "blocks"])
    shapes = shapes_of(
        DenoiserHost(pipe), sites, {**family.generation, **pictures(family), "num_inference_steps": family.steps}
    )
    assert shapes.keys() == {site.path for site in sites}
    for path, layout in family.sites.items():
        if path in shapes:
            assert (shapes[path].beside > 0) >= (layout == "text image")
            assert {"(text, image)": "2 of 2", "(image, text)": "1 of 2"}.get(layout, "alone") == shapes[path].returned
        if path in shapes and family.denoiser == "transformer":
            assert shapes[path].grid == family.grid
    assert left_behind(pipe) == []


def test_the_patch_gate_is_learned_from_twins(family, pipe, plain):
    settings = {"map_from": "pooled", "tau": 0.5, "positions": 64, "strength": 3.0, "batch_size": 4}
    steerer = dsas.fit(pipe, tiny_concept(), gate="patch", generation=generation(family), progress=False, **settings)
    assert all(s.reads["where"].kind == "block" for s in steerer.sites.values())
    assert all(s.measured["gate_on_source"] >= s.measured["gate_on_control"] for s in steerer.sites.values())
    with steerer.attached(pipe, 0.0):
        assert torch.equal(draw(family, pipe, PROMPTS), plain)
    with steerer.attached(pipe, record_gates=True) as run:
        draw(family, pipe, PROMPTS)
    assert all(found.isfinite().all() for found in run.gate_maps().values())
    assert left_behind(pipe) == []
