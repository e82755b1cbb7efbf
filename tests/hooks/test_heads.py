"""Attention heads as sites: found, recorded, steered each by itself, and nothing else touched."""

import pytest
import torch
from diffusers.models.attention_processor import Attention
from sklearn.linear_model import LogisticRegression
from tiny import GENERATION, draw, hooks_left, tiny_concept, tiny_pipeline
from torch import nn

from dsas_diffusion import Steerer
from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.call_reader import CallReader
from dsas_diffusion.hooks.recorder import ActivationRecorder
from dsas_diffusion.hooks.sites import PRESETS, Site, all_sites, find_sites

PROMPTS = ["zzz zuzu", "eee oror"]
SETTINGS = {"generation": GENERATION, "progress": False, "tau": 0.5}
MIDDLE = "mid_block.attentions.0.transformer_blocks.0.attn2"
WIDTH = 32


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def plain(pipe):
    return draw(pipe, PROMPTS)


@pytest.fixture(scope="module")
def steerer(pipe):
    return fit(pipe, tiny_concept(), sites="attention-heads", gate="logistic", **SETTINGS)


def projection(pipe, path: str = MIDDLE) -> nn.Module:
    return pipe.unet.get_submodule(path).to_out[0]


def transparent(path: str = MIDDLE):
    """A pipeline one of whose output projections hands on what it gets, so that its output shows every head."""
    pipe = tiny_pipeline()
    with torch.no_grad():
        projection(pipe, path).weight.copy_(torch.eye(2 * WIDTH))
        projection(pipe, path).bias.zero_()
    return pipe


def before_and_after(pipe, path: str = MIDDLE) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What comes to a projection before any steering, and what leaves it, call by call."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = projection(pipe, path).register_forward_hook(lambda m, args, out: seen.append((args[0], out)) and None)
    draw(pipe, PROMPTS)
    handle.remove()
    return seen


def test_every_head_of_every_attention_module_is_a_site(pipe):
    heads = find_sites(pipe.unet, "attention-heads")
    modules = {name: m for name, m in pipe.unet.named_modules() if isinstance(m, Attention)}
    assert len(modules) == 8
    assert [s.path for s in heads] == [f"{name}.heads.{i}" for name, m in modules.items() for i in range(m.heads)]
    assert {(s.kind, s.channels, s.layout) for s in heads} == {("attention-head", WIDTH, "tokens")}
    assert heads[3].module == f"{list(modules)[1]}.to_out.0"
    assert [s.part for s in heads[:2]] == [slice(0, WIDTH), slice(WIDTH, 2 * WIDTH)]


def test_no_earlier_preset_or_pattern_reaches_heads(pipe):
    for preset in PRESETS.keys() - {"attention-heads", "joint-attention"}:  # a U-Net has none of the latter
        assert not any(site.is_head for site in find_sites(pipe.unet, preset))
    for pattern in ("*", "up_blocks.*", "*.attn2*", "*attn*", f"{MIDDLE}*", "*.?"):
        assert not any(site.is_head for site in find_sites(pipe.unet, pattern))


def test_patterns_over_heads(pipe):
    crossed = find_sites(pipe.unet, "*.attn2.heads.*")
    assert len(crossed) == 8
    assert [s.path for s in find_sites(pipe.unet, f"{MIDDLE}.heads.1")] == [f"{MIDDLE}.heads.1"]
    assert {s.path for s in find_sites(pipe.unet, "*.heads.0")} < {s.path for s in find_sites(pipe.unet, "*.heads.*")}
    assert len(find_sites(pipe.unet, ["auto", "*.attn2.heads.*"])) == 4 + 8
    with pytest.raises(InputError, match=r"need a pattern with '\.heads\.' in it"):
        find_sites(pipe.unet, "*heads*")


def test_uneven_heads_are_no_sites():
    attention = Attention(8, heads=2, dim_head=4, out_dim=11)  # two heads can't share 11 channels
    assert [site.kind for site in all_sites(nn.Sequential(attention))] == ["self-attention"]


def test_recorded_heads_are_the_slices_before_the_projection(pipe):
    sites = find_sites(pipe.unet, f"{MIDDLE}.heads.*")
    seen: list[torch.Tensor] = []
    handle = projection(pipe).register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()) and None)
    with CallReader(pipe) as calls, ActivationRecorder(pipe.unet, sites, calls, positions=3) as recorder:
        draw(pipe, PROMPTS)
        recorder.end_batch([0, 1])
    handle.remove()
    assert hooks_left(pipe) == 0
    found = recorder.samples()
    for i, site in enumerate(sites):
        expected = torch.cat(seen).unflatten(0, (2, 4))[:, 2:, :, WIDTH * i : WIDTH * (i + 1)].flatten(0, 1)
        assert torch.allclose(found[site.path].pooled, expected.mean(1), atol=1e-6)
        kept = found[site.path].positions.unflatten(0, (4, 3))
        assert all(
            (row[:, None] == whole[None]).all(-1).any(1).all() for row, whole in zip(kept, expected, strict=True)
        )


@pytest.mark.parametrize("read", [None, 0, 1], ids=["own", "first", "last"])
def test_all_heads_of_a_module_are_steered_at_once(read):
    pipe, strength = transparent(), 3.0
    place = None if read is None else f"{MIDDLE}.heads.{read}"
    steerer = fit(pipe, tiny_concept(), sites=f"{MIDDLE}.heads.*", gate="logistic", read=place, **SETTINGS)
    assert len(steerer.sites) == 2
    for weight, steered in zip((0.25, 0.75), steerer.sites.values(), strict=True):
        steered.weight = weight
    with steerer.attached(pipe, strength=strength):
        calls = before_and_after(pipe)
    assert len(calls) == 2
    for before, after in calls:
        expected = before.double().clone()
        halves = before[2:].double().unflatten(-1, (2, WIDTH))
        for i, steered in enumerate(steerer.sites.values()):
            asked = halves[:, :, i if read is None else read]
            score = torch.sigmoid(asked @ steered.gate.weight.double() + steered.gate.bias.double())
            shift = strength * (0.25, 0.75)[i] * score[..., None] * steered.method.shift.double()
            expected[2:, :, WIDTH * i : WIDTH * (i + 1)] += shift
            assert shift.abs().max() > 0.01
        assert torch.equal(after[:2], before[:2])
        assert torch.allclose(after.double(), expected, atol=1e-5)


def test_heads_that_are_not_steered_stay_bit_for_bit():
    pipe = transparent()
    steerer = fit(pipe, tiny_concept(), sites=f"{MIDDLE}.heads.1", gate="always", **SETTINGS)
    with steerer.attached(pipe, strength=2):
        calls = before_and_after(pipe)
    for before, after in calls:
        assert torch.equal(after[..., :WIDTH], before[..., :WIDTH])
        assert (after[2:, :, WIDTH:] != before[2:, :, WIDTH:]).any(-1).all()


def test_zero_strength_and_detaching_are_bit_exact(pipe, steerer, plain):
    with steerer.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)
    with steerer.attached(pipe, strength=5):
        assert not torch.allclose(draw(pipe, PROMPTS), plain, atol=1e-3)
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_no_hook_outlives_an_exception(pipe, steerer, plain, error):
    def die(*_: object) -> dict:
        raise error

    with pytest.raises(error), steerer.attached(pipe, strength=5):
        draw(pipe, PROMPTS, callback_on_step_end=die)
    with pytest.raises(error):
        fit(pipe, tiny_concept(), sites="attention-heads", progress=False,
            generation={**GENERATION, "callback_on_step_end": die})  # fmt: skip
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_saved_and_loaded_it_draws_the_same_pictures(pipe, steerer, tmp_path):
    again = Steerer.from_pretrained(steerer.save_pretrained(tmp_path / "steerer"))
    pictures = []
    for one in (steerer, again):
        with one.attached(pipe, strength=3):
            pictures.append(draw(pipe, PROMPTS))
    assert torch.equal(*pictures)
    assert again.diagnose() == steerer.diagnose()


def test_a_batch_is_its_pictures(pipe, steerer):
    with steerer.attached(pipe, strength=3):
        together = draw(pipe, PROMPTS)
        apart = torch.cat([draw(pipe, [prompt], seed=number) for number, prompt in enumerate(PROMPTS)])
    assert torch.allclose(together, apart, atol=1e-4)


def test_half_precision_stays_half():
    pipe = transparent().to(torch.bfloat16)
    steerer = fit(pipe, tiny_concept(), sites=f"{MIDDLE}.heads.*", gate="logistic", **SETTINGS)
    with steerer.attached(pipe, strength=3):
        steered = before_and_after(pipe)
    with steerer.attached(pipe, strength=0):
        unsteered = before_and_after(pipe)
    assert {after.dtype for _, after in [*steered, *unsteered]} == {torch.bfloat16}
    assert all(torch.equal(*call) for call in unsteered)
    assert not any(torch.equal(*call) for call in steered)


def test_heads_and_other_sites_are_steered_together(pipe, plain):
    wanted = [f"{MIDDLE}.heads.0", MIDDLE, "mid_block.resnets.0", "mid_block.resnets.*.norm1"]
    both = fit(pipe, tiny_concept(), sites=wanted, gate="always", **SETTINGS)
    rest = fit(pipe, tiny_concept(), sites=wanted[1:], gate="always", **SETTINGS)
    assert both.sites.keys() - rest.sites.keys() == {wanted[0]}
    for path, steered in rest.sites.items():
        assert torch.equal(both.sites[path].method.shift, steered.method.shift)
    with both.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)
    both.sites[wanted[0]].method.shift.zero_()
    pictures = []
    for one in (both, rest):
        with one.attached(pipe, strength=1):
            pictures.append(draw(pipe, PROMPTS))
    assert torch.equal(*pictures)


def test_what_gates_of_heads_say_is_recorded(pipe, steerer):
    with steerer.attached(pipe, strength=0, record_gates=True) as run:
        calls = before_and_after(pipe)
    path = f"{MIDDLE}.heads.1"
    expected = torch.stack([steerer.sites[path].gate(before[2:, :, WIDTH:]) for before, _ in calls])
    assert torch.allclose(run.gate_maps()[path].flatten(2), expected, atol=1e-6)
    assert run.concept_map(16, 16).shape == (2, 16, 16)


def test_compiled_heads_are_steered_as_eager_ones():
    pipe = tiny_pipeline(seed=3)
    steerer = fit(pipe, tiny_concept(), sites="*.attn2.heads.*", gate="logistic", **SETTINGS)
    with steerer.attached(pipe, strength=2):
        eager = draw(pipe, PROMPTS)
        pipe.unet.compile(backend="eager")
        assert torch.allclose(draw(pipe, PROMPTS), eager, atol=1e-4)


class Lora(nn.Module):
    """What a LoRA puts in a linear layer's place: the layer, and a low-rank addition from the same input."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("down", torch.randn(2, base_layer.in_features, generator=generator))
        self.register_buffer("up", torch.randn(base_layer.out_features, 2, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + x @ self.down.T @ self.up.T


def test_a_lora_loaded_first_sees_steered_heads():
    pipe = transparent()
    steerer = fit(pipe, tiny_concept(), sites=f"{MIDDLE}.heads.0", gate="always", **SETTINGS)
    lora = pipe.unet.get_submodule(MIDDLE).to_out[0] = Lora(projection(pipe))
    with steerer.attached(pipe, strength=2):
        calls = before_and_after(pipe)
    for before, after in calls:
        expected = before.clone()
        expected[2:, :, :WIDTH] += 2 * steerer.sites[f"{MIDDLE}.heads.0"].method.shift
        assert torch.allclose(after, expected + expected @ lora.down.T @ lora.up.T, atol=1e-4)


@pytest.mark.parametrize("loading", [True, False], ids=["loaded", "unloaded"])
def test_a_lora_that_comes_or_goes_while_attached_is_followed(loading):
    pipe = tiny_pipeline()
    steerer = fit(pipe, tiny_concept(), sites=f"{MIDDLE}.heads.0", gate="always", **SETTINGS)
    slots, linear = pipe.unet.get_submodule(MIDDLE).to_out, projection(pipe)
    lora = Lora(linear)
    drawn = {}
    for layer in (linear, lora):
        slots[0] = layer
        with steerer.attached(pipe, strength=4):
            drawn[layer] = draw(pipe, PROMPTS)
    first, then = (linear, lora) if loading else (lora, linear)
    slots[0] = first
    with steerer.attached(pipe, strength=4):
        assert torch.equal(draw(pipe, PROMPTS), drawn[first])
        slots[0] = then
        assert torch.equal(draw(pipe, PROMPTS), drawn[then])
    assert not torch.allclose(drawn[linear], drawn[lora], atol=1e-3)
    assert hooks_left(pipe) == 0
    assert not lora._forward_pre_hooks
    assert all(not m._diffusers_hook.hooks for m in (lora, linear) if hasattr(m, "_diffusers_hook"))


def test_an_ordinary_site_whose_module_is_replaced_keeps_no_hook():
    pipe = tiny_pipeline()
    path = find_sites(pipe.unet, "norms")[0].path
    steerer = fit(pipe, tiny_concept(), sites=path, gate="always", **SETTINGS)
    parent, _, name = path.rpartition(".")
    norm = pipe.unet.get_submodule(path)
    with steerer.attached(pipe):
        setattr(pipe.unet.get_submodule(parent), name, nn.Identity())
    assert not norm._diffusers_hook.hooks


def shares(pipe, texts: list[str], sites: list[Site], seed: int) -> dict[str, torch.Tensor]:
    """What each head hands to its projection, averaged over positions: conditional rows, step after step."""
    seen: dict[str, list[torch.Tensor]] = {site.path: [] for site in sites}

    def look(path: str, number: int):
        def read(module: nn.Module, args: tuple[torch.Tensor]) -> None:
            given = args[0][len(args[0]) // 2 :]
            seen[path].append(given[:, :, WIDTH * number : WIDTH * (number + 1)].double().mean(1))

        return read

    handles = []
    for site in sites:
        attention, _, number = site.path.rpartition(".heads.")
        handles.append(projection(pipe, attention).register_forward_pre_hook(look(site.path, int(number))))
    draw(pipe, texts, seed=seed)
    for handle in handles:
        handle.remove()
    return {path: torch.cat(parts) for path, parts in seen.items()}


@pytest.mark.parametrize("method", ["iti_m", "iti_c"])
def test_iti_on_heads_is_the_papers(pipe, plain, method):
    concept, alpha = tiny_concept(), 5.0
    steerer = fit(pipe, concept, method=method, sites="attention-heads", gate="always", map_from="pooled", seed=5,
                  **SETTINGS)  # fmt: skip
    sites = find_sites(pipe.unet, "attention-heads")
    assert list(steerer.sites) == [site.path for site in sites]
    shown, other = (shares(pipe, concept.texts(group), sites, 5) for group in ("source", "target"))
    moves = {}
    for site in sites:
        source, target = shown[site.path].numpy(), other[site.path].numpy()
        every = torch.cat([shown[site.path], other[site.path]]).numpy()
        if method == "iti_m":
            direction = target.mean(0) - source.mean(0)
        else:  # a penalty on |w| knows no principal components: the same without them
            labels = [0] * len(source) + [1] * len(target)
            direction = LogisticRegression(tol=1e-10, max_iter=10_000).fit(every, labels).coef_[0]
        along = direction / (direction @ direction) ** 0.5
        moves[site.path] = torch.from_numpy(alpha * (every @ along).std() * along).float()
    handles = []
    for path in {site.path.rpartition(".heads.")[0] for site in sites}:
        whole = torch.cat([moves[f"{path}.heads.{i}"] for i in range(2)])
        halves = torch.tensor([0.0, 0, 1, 1])[:, None, None]
        handles.append(
            projection(pipe, path).register_forward_pre_hook(lambda m, args, v=whole, h=halves: (args[0] + h * v,))
        )
    expected = draw(pipe, PROMPTS)
    for handle in handles:
        handle.remove()
    with steerer.attached(pipe, strength=alpha):
        found = draw(pipe, PROMPTS)
    assert (expected - plain).abs().max() > 0.05
    assert torch.allclose(found, expected, atol=1e-3)


def test_iti_on_the_best_head_touches_that_one_alone():
    pipe = tiny_pipeline()
    settings = {**SETTINGS, "method": "iti_c", "sites": "attention-heads", "gate": "always", "map_from": "pooled"}
    every = fit(pipe, tiny_concept(), **settings)
    accuracy = {path: s.measured["accuracy"] for path, s in every.sites.items()}
    best = max(accuracy, key=lambda path: accuracy[path])
    attention, _, number = best.rpartition(".heads.")
    one = fit(pipe, tiny_concept(), top_k=1, **settings)
    assert list(one.sites) == [best]
    with torch.no_grad():
        projection(pipe, attention).weight.copy_(torch.eye(2 * WIDTH))
        projection(pipe, attention).bias.zero_()
    with one.attached(pipe, strength=4):
        hooked = [
            name
            for name, m in pipe.unet.named_modules()
            if getattr(m, "_diffusers_hook", None) and m._diffusers_hook.hooks
        ]
        calls = before_and_after(pipe, attention)
    assert hooked == [f"{attention}.to_out.0"]
    for before, after in calls:
        changed = (before != after)[2:].flatten(0, 1).all(0)
        assert changed.nonzero().flatten().tolist() == list(range(WIDTH * int(number), WIDTH * (int(number) + 1)))
        assert torch.equal(before[:2], after[:2])


def test_causal_heads_of_one_module_learn_from_the_same_pictures(pipe):
    later = "up_blocks.0.attentions.0.transformer_blocks.0.attn1"
    settings = {**SETTINGS, "gate": "always", "map_from": "pooled", "strength": 4.0, "seed": 5}
    wanted = [MIDDLE, f"{later}.heads.0", f"{MIDDLE}.heads.0", f"{MIDDLE}.heads.1"]
    concept = tiny_concept()
    causal = fit(pipe, concept, sites=wanted, estimation="causal", **settings)
    assert list(causal.sites) == [f"{MIDDLE}.heads.0", f"{MIDDLE}.heads.1", MIDDLE, f"{later}.heads.0"]
    at_once = fit(pipe, concept, sites=wanted, **settings)
    for i in range(2):
        path = f"{MIDDLE}.heads.{i}"
        assert torch.equal(causal.sites[path].method.shift, at_once.sites[path].method.shift)
    path = f"{later}.heads.0"
    assert not torch.allclose(causal.sites[path].method.shift, at_once.sites[path].method.shift, atol=1e-3)
    earlier = fit(pipe, concept, sites=wanted[:1] + wanted[2:], estimation="causal", **settings)
    with earlier.attached(pipe, strength=4):
        shown = shares(pipe, concept.texts("source"), [causal.sites[path].site], 5)[path]
    other = shares(pipe, concept.texts("target"), [causal.sites[path].site], 5)[path]
    assert torch.allclose(causal.sites[path].method.shift.double(), other.mean(0) - shown.mean(0), atol=1e-5)
    assert hooks_left(pipe) == 0
