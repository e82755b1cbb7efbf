"""What modules are, told by their traits; and that what is only assumed is said."""

import warnings

import pytest
import torch
from diffusers.models.attention import AttentionModuleMixin
from tiny import tiny_concept
from torch import nn
from zoo import FAMILIES

import dsas_diffusion as dsas
from dsas_diffusion.hooks.discovery import attention_kind, image_index
from dsas_diffusion.hooks.image_tokens import IMAGE_FIRST, TEXT_FIRST, patch_of
from dsas_diffusion.hooks.sites import all_sites


class Unheard(nn.Module, AttentionModuleMixin):
    """Attention of a class that nobody knows, as wide for text as for images."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.heads, self.inner_dim = 2, 8
        self.to_out = nn.ModuleList([nn.Linear(8, 8)])

    def forward(self, hidden_states, encoder_hidden_states=None):
        other = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        weights = (self.to_q(hidden_states) @ self.to_k(other).mT).softmax(-1)
        return self.to_out[0](weights @ self.to_v(other))


class Block(nn.Module):
    """A block whose code alone tells which attention gets the text, and where the image is in what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Unheard(), Unheard()
        self.norm = nn.LayerNorm(8)

    def forward(self, hidden_states, encoder_hidden_states):
        hidden_states = hidden_states + self.first(self.norm(hidden_states))
        hidden_states = hidden_states + self.second(hidden_states, encoder_hidden_states)
        return encoder_hidden_states, hidden_states


class Denoiser(nn.Module):
    """A model of such blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.context_refiner = nn.ModuleList([Block()])

    def forward(self, sample, encoder_hidden_states):
        for block in self.blocks:
            encoder_hidden_states, sample = block(sample, encoder_hidden_states)
        return sample


def test_a_model_that_nobody_knows_is_read_by_its_own_code():
    model = Denoiser()
    kinds = {site.path: site.kind for site in all_sites(model) if not site.is_head}
    assert kinds == {
        f"blocks.{i}{part}": kind
        for i in range(2)
        for part, kind in (
            ("", "block"), (".first", "self-attention"), (".second", "cross-attention"), (".norm", "norm")
        )
    }  # fmt: skip
    assert image_index(Block) == 1
    assert image_index(Unheard) == 0
    assert sum(site.is_head for site in all_sites(model)) == 8


def test_attention_without_its_holders_source_is_told_by_its_widths():
    model = nn.Sequential(Unheard(), Unheard())
    model[1].to_k = nn.Linear(12, 8)
    assert [attention_kind(model[i], str(i), model) for i in range(2)] == ["self-attention", "cross-attention"]


@pytest.mark.parametrize(("known", "expected"), [(True, 0), (False, 1)])
def test_an_order_that_is_only_assumed_is_said_once_a_recording(known, expected):
    pipe = FAMILIES["flux"].build()
    if not known:
        kind = type(pipe.transformer)
        pipe.transformer.__class__ = type("UnheardTransformer", (kind,), {})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dsas.fit(
            pipe, tiny_concept(), gate="always", map_from="pooled", sites="single_transformer_blocks.*.attn",
            generation=FAMILIES["flux"].generation, progress=False,
        )  # fmt: skip
    told = [str(w.message) for w in said if "text is taken to stand first" in str(w.message)]
    assert len(set(told)) == expected
    assert all("UnheardTransformer" in message for message in told)


def test_orders_that_are_known_are_those_of_the_families():
    for family in FAMILIES.values():
        layouts = {layout for layout in family.sites.values() if layout in ("text image", "image text")}
        name = type(family.build().components[family.denoiser]).__name__
        assert ("text image" in layouts) <= (name in TEXT_FIRST), name
        assert ("image text" in layouts) <= (name in IMAGE_FIRST), name


def test_patches_of_every_kind_of_config():
    class Configured(nn.Module):
        def __init__(self, **config):
            super().__init__()
            self.config = config

    for config, expected in (
        ({}, (1, 1, 1)),
        ({"patch_size": 2}, (1, 2, 2)),
        ({"patch_size": (1, 2, 2)}, (1, 2, 2)),
        ({"patch_size": [2, 4]}, (1, 2, 4)),
        ({"patch_size": 2, "patch_size_t": 4}, (4, 2, 2)),
        ({"all_patch_size": (2,), "all_f_patch_size": (1,)}, (1, 2, 2)),
    ):
        assert patch_of(Configured(**config)) == expected


def test_a_layout_that_is_only_assumed_is_said():
    from dsas_diffusion.hooks.image_tokens import image_grid

    model = nn.Identity()
    for positions, grid in ((36, (6, 6)), (35, (1, 35))):
        with pytest.warns(UserWarning, match=f"lays out its {positions} image positions is not known"):
            assert image_grid(model, {"hidden_states": torch.zeros(2, positions, 8)}) == grid
