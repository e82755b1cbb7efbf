"""torch.compile, whole and by blocks, before and after attaching: no graph break, no new graph for another λ."""

import pytest
import torch
from tiny import tiny_concept
from works import shows
from zoo import FAMILIES, draw

import dsas_diffusion as dsas

PROMPTS = ["zzz zuzu", "eee oror"]


class Counting:
    """A backend that runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def compile_it(family, pipe, how, backend):
    denoiser = getattr(pipe, family.denoiser)
    if how == "whole":
        setattr(pipe, family.denoiser, torch.compile(denoiser, backend=backend, fullgraph=True))
    elif how == "in place":
        denoiser.compile(backend=backend, fullgraph=True)
    else:
        denoiser.compile_repeated_blocks(backend=backend, fullgraph=True)


@pytest.fixture(scope="module", params=["sd", "flux", "sdxl"], ids="{}-".format)
def fitted(request):
    """A family, its steerer, and what it draws eagerly by λ."""
    family = FAMILIES[request.param]
    pipe = family.build()
    steerer = dsas.fit(
        pipe, tiny_concept(), gate="patch", map_from="pooled", tau=0.5, positions=64, generation=family.generation,
        progress=False, batch_size=4,
    )  # fmt: skip
    drawn = {}
    for strength in (0.0, 1.0, 3.0):
        with steerer.attached(pipe, strength):
            drawn[strength] = draw(family, pipe, PROMPTS)
    assert not torch.allclose(drawn[3.0], drawn[0.0], atol=1e-3)
    return family, steerer, drawn


@shows(
    "Compilation",
    "`torch.compile` of the whole denoiser, in place, and `compile_repeated_blocks`, all with `fullgraph=True`",
    "before attaching, after attaching, or after a first run; another λ makes no new graph",
    "sd flux sdxl",
)
@pytest.mark.parametrize("order", ["attached first", "compiled first", "compiled and run first"])
@pytest.mark.parametrize("how", ["whole", "in place", "by blocks"])
def test_compiled_pictures_are_the_eager_ones_and_strength_costs_no_graph(fitted, how, order):
    family, steerer, drawn = fitted
    pipe = family.build()
    torch._dynamo.reset()
    backend = Counting()
    if order != "attached first":
        compile_it(family, pipe, how, backend)
    if order == "compiled and run first":
        draw(family, pipe, PROMPTS)
    attachment = steerer.attach(pipe, 3.0)
    if order == "attached first":
        compile_it(family, pipe, how, backend)
    assert torch.allclose(draw(family, pipe, PROMPTS), drawn[3.0], atol=1e-4)
    graphs = backend.graphs
    assert graphs > 0
    for strength in (1.0, 0.0, [3.0, 0.0], 3.0):
        attachment.set_strength(strength)
        pictures = draw(family, pipe, PROMPTS)
        mixed = isinstance(strength, list)
        expected = torch.stack([drawn[3.0][0], drawn[0.0][1]]) if mixed else drawn[strength]
        assert torch.allclose(pictures, expected, atol=1e-4)
    assert backend.graphs == graphs
    attachment.detach()
    assert torch.allclose(draw(family, pipe, PROMPTS), drawn[0.0], atol=1e-5)
    called = pipe.components[family.denoiser]
    denoiser = getattr(called, "_orig_mod", called)
    assert "Outside" not in getattr(denoiser._compiled_call_impl, "__qualname__", "")
    assert not called._forward_pre_hooks
    assert not denoiser._forward_pre_hooks


@shows(
    "Compilation", "`compile_repeated_blocks` of many blocks", "blocks of one kind share their graphs", "sd flux sdxl"
)
def test_graphs_do_not_grow_with_the_number_of_blocks(fitted):
    family, steerer, _ = fitted
    pipe = family.build()
    torch._dynamo.reset()
    backend = Counting()
    with steerer.attached(pipe, 3.0):
        compile_it(family, pipe, "by blocks", backend)
        draw(family, pipe, PROMPTS)
    blocks = {s.site.path.rpartition(".")[0] for s in steerer.sites.values()}
    kinds = {type(pipe.components[family.denoiser].get_submodule(path)) for path in blocks}
    assert backend.graphs <= 5 * len(kinds)  # the block that is read, those before and those behind it, two steps


@shows(
    "Compilation",
    "Attention heads, those inside single-stream blocks too, with `fullgraph=True`",
    "before attaching or after; another λ makes no new graph",
    "sd flux",
)
@pytest.mark.parametrize("order", ["attached first", "compiled and run first"])
@pytest.mark.parametrize("how", ["whole", "in place", "by blocks"])
@pytest.mark.parametrize("name", ["sd", "flux"], ids="{}-".format)
def test_compiled_heads(name, how, order):
    family = FAMILIES[name]
    pipe = family.build()
    sites = "single_transformer_blocks.*.heads.1" if name == "flux" else "*.attn2.heads.*"
    steerer = dsas.fit(
        pipe, tiny_concept(), gate="logistic", map_from="pooled", tau=0.5, sites=sites, generation=family.generation,
        progress=False, batch_size=4,
    )  # fmt: skip
    drawn = {}
    for strength in (0.0, 2.0, 4.0):
        with steerer.attached(pipe, strength):
            drawn[strength] = draw(family, pipe, PROMPTS)
    assert not torch.allclose(drawn[4.0], drawn[0.0], atol=1e-3)
    torch._dynamo.reset()
    backend = Counting()
    if order != "attached first":
        compile_it(family, pipe, how, backend)
        draw(family, pipe, PROMPTS)
    attachment = steerer.attach(pipe, 4.0)
    if order == "attached first":
        compile_it(family, pipe, how, backend)
    assert torch.allclose(draw(family, pipe, PROMPTS), drawn[4.0], atol=1e-4)
    graphs = backend.graphs
    for strength in (0.0, 2.0):
        attachment.set_strength(strength)
        assert torch.allclose(draw(family, pipe, PROMPTS), drawn[strength], atol=1e-4)
    assert backend.graphs == graphs
    attachment.detach()
    assert torch.allclose(draw(family, pipe, PROMPTS), drawn[0.0], atol=1e-5)


@shows(
    "Compilation",
    "`record_gates=True` or `fit` on a compiled model",
    "an error: record and fit before compiling",
    "sd flux sdxl",
)
def test_gates_cannot_be_recorded_from_a_compiled_model(fitted):
    family, steerer, _ = fitted
    for how in ("whole", "in place", "by blocks"):
        pipe = family.build()
        compile_it(family, pipe, how, "eager")
        with pytest.raises(dsas.InputError, match="Gates can't be recorded from a compiled model"):
            steerer.attach(pipe, record_gates=True)
        with pytest.raises(dsas.InputError, match="can't be recorded from a compiled pipeline"):
            dsas.fit(pipe, tiny_concept(), generation=family.generation, progress=False)


@shows(
    "Compilation",
    "The backend `inductor`",
    "as without it",
    "sd flux sdxl",
)
@pytest.mark.full
def test_inductor_draws_what_the_eager_model_draws(fitted):
    family, steerer, drawn = fitted
    pipe = family.build()
    torch._dynamo.reset()
    with steerer.attached(pipe, 3.0):
        compile_it(family, pipe, "by blocks", "inductor")
        assert torch.allclose(draw(family, pipe, PROMPTS), drawn[3.0], atol=1e-3)
