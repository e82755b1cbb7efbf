"""Attention maps against Diffusers' own scores and sums by hand; and looking changes nothing."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import apply_rotary_emb
from torch import nn
from zoo import FAMILIES, draw

from dsas_diffusion import AttentionMaps, InputError
from dsas_diffusion.hooks.guidance import denoiser_of

PROMPTS = ["zzz zuzu", "eee oror"]
FAMILIES_SEEN = [
    "sd",
    "flux",
    *(
        pytest.param(name, marks=pytest.mark.full)
        for name in ("sdxl", "kandinsky3", "pixart_sigma", "sana", "sd3", "auraflow", "qwenimage", "flux2", "chroma")
    ),
    *(pytest.param(name, marks=pytest.mark.full) for name in ("wan", "ltx", "cogview4", "hunyuandit")),
]


def processors(pipe) -> list[object]:
    modules = [m for m in denoiser_of(pipe).modules() if hasattr(m, "get_processor")]
    assert modules
    return [m.get_processor() for m in modules]


@pytest.mark.parametrize("name", FAMILIES_SEEN)
def test_looking_changes_nothing(name):
    family = FAMILIES[name]
    pipe = family.build()
    plain, before, keys = draw(family, pipe, PROMPTS), processors(pipe), list(denoiser_of(pipe).state_dict())
    with AttentionMaps(pipe, heads=True) as seen:
        assert torch.equal(draw(family, pipe, PROMPTS), plain)
        assert list(denoiser_of(pipe).state_dict()) == keys
    assert all(one is other for one, other in zip(processors(pipe), before, strict=True))
    assert torch.equal(draw(family, pipe, PROMPTS), plain)
    maps, heads = seen.maps(), seen.heads()
    assert maps.keys() == heads.keys() == {site.path for site in seen.sites}
    for site in seen.sites:
        found, given = maps[site.path], heads[site.path]
        count, tokens = denoiser_of(pipe).get_submodule(site.path).heads, found.shape[-1]
        height, width = family.grid
        if family.denoiser == "transformer":
            assert found.shape == (2, count, height, width, tokens)
        assert given.shape == (2, count, found.shape[2] * found.shape[3], given.shape[-1])
        shares = found.sum(-1)
        assert (found >= 0).all()
        if site.kind == "cross-attention":
            assert torch.allclose(shares, torch.ones_like(shares), atol=1e-5)
        else:
            assert ((shares > 0) & (shares < 1)).all()


@pytest.mark.parametrize("name", ["sd", "pixart_sigma"])
def test_cross_attention_is_that_of_diffusers_own_scores(name):
    family = FAMILIES[name]
    pipe = family.build()
    with AttentionMaps(pipe, each_step=True) as seen:
        draw(family, pipe, PROMPTS)
    denoiser_of(pipe).set_attn_processor(AttnProcessor())
    expected: dict[str, list[torch.Tensor]] = {site.path: [] for site in seen.sites}
    for path, found in expected.items():
        module = denoiser_of(pipe).get_submodule(path)

        def scores(*given, module=module, found=found):
            found.append(type(module).get_attention_scores(module, *given))
            return found[-1]

        module.get_attention_scores = scores
    draw(family, pipe, PROMPTS)
    for path, found in seen.maps().items():
        steps = torch.stack(expected[path]).unflatten(1, (4, -1))[:, 2:]
        assert found.shape[:2] == (2, 2)
        assert torch.allclose(found.flatten(3, 4), steps, atol=1e-5)


class Projected:
    """What the named parts of an attention module gave, call by call, and the rotary embedding of the last."""

    def __init__(self, attention: nn.Module, *parts: str) -> None:
        self.given: dict[str, list[torch.Tensor]] = {part: [] for part in parts}
        self.rotary = None
        for part in parts:
            attention.get_submodule(part).register_forward_hook(
                lambda m, args, output, part=part: self.given[part].append(output) and None
            )
        attention.register_forward_pre_hook(self._rotary, with_kwargs=True)

    def _rotary(self, module, args, kwargs):
        self.rotary = kwargs.get("image_rotary_emb")

    def probabilities(self, queries: list[str], keys: list[str], heads: int) -> torch.Tensor:
        """Of the first call."""

        def sides(parts):
            found = [self.given[part][0].double() for part in parts]
            found = [each if each.shape[2] == heads else each.transpose(1, 2) for each in found]
            found = torch.cat(found, dim=1)
            return found if self.rotary is None else apply_rotary_emb(found, self.rotary, sequence_dim=1)

        query, key = sides(queries), sides(keys)
        scores = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) / query.shape[-1] ** 0.5
        return scores.exp() / scores.exp().sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("name", "path", "queries", "keys", "text_first"),
    [
        ("sd3", "transformer_blocks.0.attn", ["norm_q", "norm_added_q"], ["norm_k", "norm_added_k"], False),
        ("flux", "transformer_blocks.1.attn", ["norm_added_q", "norm_q"], ["norm_added_k", "norm_k"], True),
        ("flux", "single_transformer_blocks.1.attn", ["norm_q"], ["norm_k"], True),
        ("flux2", "single_transformer_blocks.0.attn", ["norm_q"], ["norm_k"], True),
    ],
)
def test_joint_attention_is_what_a_sum_by_hand_gives(name, path, queries, keys, text_first):
    family = FAMILIES[name]
    pipe = family.build()
    attention = denoiser_of(pipe).get_submodule(path)
    projected = Projected(attention, *queries, *keys)
    with AttentionMaps(pipe, path, steps=[0], heads=True) as seen:
        draw(family, pipe, PROMPTS)
    whole = projected.probabilities(queries, keys, attention.heads)[-2:]  # the prompts' rows
    image = family.grid[0] * family.grid[1]
    rows, text = (slice(-image, None), slice(0, -image)) if text_first else (slice(0, image), slice(image, None))
    expected = whole[:, :, rows, text]
    assert expected.std() > 0.003
    assert torch.allclose(seen.maps()[path].flatten(2, 3).double(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("sd", "mid_block.attentions.0.transformer_blocks.0.attn2"),
        ("sd3", "transformer_blocks.1.attn"),
        ("flux", "transformer_blocks.0.attn"),
    ],
)
def test_heads_are_what_comes_to_the_output_projection(name, path):
    family = FAMILIES[name]
    pipe = family.build()
    attention = denoiser_of(pipe).get_submodule(path)
    given = []
    handle = attention.to_out[0].register_forward_pre_hook(lambda m, args: given.append(args[0]) and None)
    with AttentionMaps(pipe, path, heads=True, steps=[0]) as seen:
        draw(family, pipe, PROMPTS)
    handle.remove()
    expected = given[0][-2:].unflatten(2, (attention.heads, -1)).transpose(1, 2)
    assert torch.equal(seen.heads()[path], expected)


def test_the_average_is_that_of_the_steps_and_the_last_run_counts():
    family = FAMILIES["sd"]
    pipe = family.build()
    with AttentionMaps(pipe, each_step=True, heads=True) as apart:
        draw(family, pipe, PROMPTS)
    with AttentionMaps(pipe, heads=True) as together, AttentionMaps(pipe, steps=[1]) as later:  # one wrapper for both
        draw(family, pipe, PROMPTS[::-1], seed=5)
        draw(family, pipe, PROMPTS)
    for path, found in apart.maps().items():
        assert torch.allclose(together.maps()[path], found.mean(0), atol=1e-6)
        assert torch.equal(later.maps()[path], found[1])
        assert torch.allclose(together.heads()[path], apart.heads()[path].mean(0), atol=1e-6)
        assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_maps_of_a_steered_picture():
    from tiny import tiny_concept

    from dsas_diffusion import fit

    family = FAMILIES["flux"]
    pipe = family.build()
    site = "single_transformer_blocks.0.attn"
    steerer = fit(pipe, tiny_concept(), sites=f"{site}.heads.0", gate="always", map_from="pooled", strength=4.0,
                  generation=family.generation, progress=False)  # fmt: skip
    before = processors(pipe)
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
        with AttentionMaps(pipe, ["single_transformer_blocks.*.attn"]) as seen:
            assert torch.equal(draw(family, pipe, PROMPTS), steered)
        assert torch.equal(draw(family, pipe, PROMPTS), steered)
    with AttentionMaps(pipe, ["single_transformer_blocks.*.attn"], steps=[0]) as unsteered:
        draw(family, pipe, PROMPTS)
    with steerer.attached(pipe), AttentionMaps(pipe, ["single_transformer_blocks.*.attn"], steps=[0]) as first:
        draw(family, pipe, PROMPTS)
    later = "single_transformer_blocks.1.attn"
    assert torch.equal(first.maps()[site], unsteered.maps()[site])
    assert not torch.allclose(first.maps()[later], unsteered.maps()[later], atol=1e-4)
    assert seen.maps().keys() == {site, later}
    assert all(one is other for one, other in zip(processors(pipe), before, strict=True))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_no_wrapper_outlives_an_exception(error):
    def die(*_):
        raise error

    family = FAMILIES["sd"]
    pipe = family.build()
    before, plain = processors(pipe), draw(family, pipe, PROMPTS)
    with pytest.raises(error), AttentionMaps(pipe):
        draw(family, pipe, PROMPTS, callback_on_step_end=die)
    assert all(one is other for one, other in zip(processors(pipe), before, strict=True))
    assert torch.equal(draw(family, pipe, PROMPTS), plain)


@pytest.mark.parametrize(
    ("name", "sites", "says"),
    [
        ("sd", "self-attention", "attends to no text.*Choose attention to the text"),
        ("sd", "blocks", "attends to no text.*Choose attention to the text"),
        ("sd", "*.attn3", "matches nothing"),
        ("lumina2", "auto", "can't be told in a Lumina2Transformer2DModel.*Choose other sites"),
        ("zimage", "auto", "can't be told in a ZImageTransformer2DModel.*Choose other sites"),
    ],
)
def test_sites_without_maps_are_refused(name, sites, says):
    family = FAMILIES[name]
    pipe = family.build()
    before = processors(pipe)
    with pytest.raises(InputError, match=says), AttentionMaps(pipe, sites):
        draw(family, pipe, PROMPTS)
    assert all(one is other for one, other in zip(processors(pipe), before, strict=True))


def test_what_was_not_seen_or_not_kept_is_said():
    family = FAMILIES["sd"]
    pipe = family.build()
    with AttentionMaps(pipe, steps=[7]) as seen:
        draw(family, pipe, PROMPTS)
    with pytest.raises(InputError, match=r"Nothing was seen at .*Draw a picture inside the context"):
        seen.maps()
    with pytest.raises(InputError, match="with heads=True"):
        seen.heads()
    pipe.unet.compile(backend="eager")
    with pytest.raises(InputError, match=r"Look before `torch.compile`"), AttentionMaps(pipe):
        pass
