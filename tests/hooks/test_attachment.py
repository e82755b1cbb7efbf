"""Steering inside a real pipeline: exact when off, gone when detached, the right rows and prompts."""

import warnings

import pytest
import torch
from tiny import draw, hooks_left, tiny_concept, tiny_pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.sites import PRESETS, find_sites

PROMPTS = ["zzz zuzu", "eee oror"]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def steerer(pipe):
    from tiny import GENERATION

    return fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=GENERATION, progress=False, batch_size=4)


@pytest.fixture(scope="module")
def plain(pipe):
    return draw(pipe, PROMPTS)


def test_strength_zero_is_bit_exact(pipe, steerer, plain):
    with steerer.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)


def test_strength_changes_pictures_and_detaching_restores_them(pipe, steerer, plain):
    with steerer.attached(pipe, strength=3):
        assert not torch.equal(draw(pipe, PROMPTS), plain)
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_an_exception_inside_leaves_the_pipeline_clean(pipe, steerer, plain):
    def interrupt(*_: object) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), steerer.attached(pipe, strength=3):
        draw(pipe, PROMPTS, callback_on_step_end=interrupt)
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_each_prompt_has_its_own_strength(pipe, steerer, plain):
    with steerer.attached(pipe, strength=3):
        full = draw(pipe, PROMPTS)
    with steerer.attached(pipe, strength=[3, 0]):
        mixed = draw(pipe, PROMPTS)
    assert torch.equal(mixed[0], full[0])
    assert torch.equal(mixed[1], plain[1])


def test_pictures_of_one_prompt_share_its_strength(pipe, steerer):
    def two_each() -> torch.Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        return draw(pipe, PROMPTS, num_images_per_prompt=2, generator=generators)

    def draw(pipe, prompts, **settings):
        from tiny import GENERATION

        return pipe(prompts, output_type="pt", **GENERATION, **settings).images

    plain = two_each()
    with steerer.attached(pipe, strength=[0, 3]):
        steered = two_each()
    assert torch.equal(steered[:2], plain[:2])
    assert (steered[2] != plain[2]).any()
    assert (steered[3] != plain[3]).any()


@pytest.mark.filterwarnings("ignore:The steerer was fitted with")
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_only_conditional_rows_are_steered(pipe, steerer, guidance_scale):
    seen: dict[bool, list[torch.Tensor]] = {False: [], True: []}
    path = next(iter(steerer.sites))
    module = pipe.unet.get_submodule(path)

    def look(steered: bool):
        return module.register_forward_hook(lambda m, args, output: seen[steered].append(output.clone()) and None)

    handle = look(False)
    draw(pipe, PROMPTS, num_inference_steps=1, guidance_scale=guidance_scale)
    handle.remove()
    with steerer.attached(pipe, strength=3):
        handle = look(True)
        draw(pipe, PROMPTS, num_inference_steps=1, guidance_scale=guidance_scale)
        handle.remove()
    before, after = seen[False][0], seen[True][0]
    conditional = slice(2, 4) if guidance_scale > 1 else slice(0, 2)
    assert len(before) == (4 if guidance_scale > 1 else 2)
    if guidance_scale > 1:
        assert torch.equal(before[:2], after[:2])
    assert all((before[conditional][i] != after[conditional][i]).any() for i in range(2))


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), "3", [], [1.0, float("nan")], None.__class__])
def test_strength_that_is_no_finite_number_is_refused_before_anything_is_attached(pipe, steerer, strength):
    with pytest.raises(InputError, match="strength must be a finite number"):
        steerer.attach(pipe, strength=strength)
    assert hooks_left(pipe) == 0


def test_strengths_that_do_not_fit_the_batch_are_refused_and_leave_nothing(pipe, steerer):
    with pytest.raises(InputError, match="strength has 3 numbers"), steerer.attached(pipe, strength=[1, 2, 3]):
        draw(pipe, PROMPTS)
    assert hooks_left(pipe) == 0


def test_a_second_steerer_on_one_denoiser_is_refused(pipe, steerer):
    handle = steerer.attach(pipe)
    try:
        with pytest.raises(InputError, match="steered already"):
            steerer.attach(pipe)
    finally:
        handle.detach()
    handle.detach()
    assert hooks_left(pipe) == 0


def test_another_model_is_refused_by_its_first_difference(steerer):
    with pytest.raises(InputError, match="block_out_channels is"):
        steerer.attach(tiny_pipeline(width=16))


@pytest.mark.parametrize("broken", [lambda pipe: torch.nn.Identity(), lambda pipe: None])
def test_a_pipeline_without_a_denoiser_is_refused(steerer, broken):
    pipe = tiny_pipeline()
    pipe.unet = broken(pipe)
    with pytest.raises(InputError, match="this is a StableDiffusionPipeline whose components are vae"):
        steerer.attach(pipe)


def test_steering_tensors_stay_out_of_the_model(pipe, steerer):
    names = set(pipe.unet.state_dict())
    with steerer.attached(pipe):
        assert set(pipe.unet.state_dict()) == names


def test_compiled_model_is_steered_as_the_eager_one():
    pipe = tiny_pipeline(seed=3)
    from tiny import GENERATION

    steerer = fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=GENERATION, progress=False)
    with steerer.attached(pipe, strength=2):
        eager = draw(pipe, PROMPTS)
        pipe.unet.compile(backend="eager")
        assert torch.allclose(draw(pipe, PROMPTS), eager, atol=1e-4)


def test_window_steers_its_steps_alone(pipe, steerer):
    def last_step(**window) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        with steerer.attached(pipe, strength=3, **window):
            draw(
                pipe, PROMPTS, num_inference_steps=4,
                callback_on_step_end=lambda p, i, t, kw: seen.append(kw["latents"].clone()) or {},
            )  # fmt: skip
        return seen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # four steps, and the fit had two
        whole, none = last_step(), last_step(start=0.99)
        late, early = last_step(start=0.5), last_step(end=0.5)
    same_late = [torch.equal(a, b) for a, b in zip(late, none, strict=True)]
    same_early = [torch.equal(a, b) for a, b in zip(early, whole, strict=True)]
    assert same_late == [True, True, False, False]
    assert same_early == [True, True, False, False]


@pytest.mark.parametrize("window", [{"start": 0.5, "end": 0.5}, {"start": -0.1}, {"end": 1.2}, {"start": float("nan")}])
def test_empty_windows_are_refused(pipe, steerer, window):
    with pytest.raises(InputError, match="leave no part of the schedule"):
        steerer.attach(pipe, **window)
    assert hooks_left(pipe) == 0


def test_either_half_can_be_steered(pipe, steerer, plain):
    pictures = {}
    for half in ("conditional", "unconditional", "both"):
        with steerer.attached(pipe, strength=3, half=half):
            pictures[half] = draw(pipe, PROMPTS)
        with steerer.attached(pipe, strength=[0, 3], half=half):
            second = draw(pipe, PROMPTS)
        assert torch.equal(second[0], plain[0])
        assert torch.equal(second[1], pictures[half][1])
    assert len({tuple(p.flatten()[:50].tolist()) for p in [plain, *pictures.values()]}) == 4
    with pytest.raises(InputError, match="half must be one of"):
        steerer.attach(pipe, half="top")


@pytest.mark.filterwarnings("ignore:The steerer was fitted with")
def test_the_unconditional_half_needs_guidance(pipe, steerer):
    with pytest.raises(InputError, match="no unconditional rows"), steerer.attached(pipe, half="unconditional"):
        draw(pipe, PROMPTS, guidance_scale=1.0)
    assert hooks_left(pipe) == 0


def test_a_run_that_died_leaves_nothing_to_the_next():
    from tiny import GENERATION

    pipe = tiny_pipeline()
    first = find_sites(pipe.unet, "cross-attention")[0].path
    late = find_sites(pipe.unet, "resnets")[-1].path
    steerer = fit(pipe, tiny_concept(), gate="logistic", sites=first, read=late, tau=0.5, generation=GENERATION,
                  progress=False)  # fmt: skip

    def die(*_: object) -> dict:
        raise MemoryError

    with steerer.attached(pipe, strength=3):
        expected = draw(pipe, PROMPTS)
    with steerer.attached(pipe, strength=3):
        with pytest.raises(MemoryError):
            draw(pipe, [*PROMPTS, "third"], callback_on_step_end=die)
        assert torch.equal(draw(pipe, PROMPTS), expected)


@pytest.mark.filterwarnings("ignore:The steerer was fitted with")
def test_guidance_may_end_during_a_run():
    from diffusers.callbacks import SDCFGCutoffCallback
    from tiny import GENERATION

    pipe = tiny_pipeline()
    first = find_sites(pipe.unet, "cross-attention")[0].path
    late = find_sites(pipe.unet, "resnets")[-1].path
    steerer = fit(pipe, tiny_concept(), gate="logistic", sites=first, read=late, tau=0.5, generation=GENERATION,
                  progress=False)  # fmt: skip
    with steerer.attached(pipe, strength=3):
        cutoff = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)  # for one picture at a time
        assert draw(pipe, PROMPTS[:1], callback_on_step_end=cutoff).shape == (1, 3, 16, 16)


def test_schedulers_that_repeat_a_timestep_are_no_other_settings():
    from diffusers import PNDMScheduler
    from tiny import GENERATION

    pipe = tiny_pipeline()
    pipe.scheduler = PNDMScheduler(steps_offset=1, skip_prk_steps=True)
    settings = {**GENERATION, "num_inference_steps": 4}
    steerer = fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=settings, progress=False)
    assert steerer.manifest["generation"]["num_inference_steps"] == 4
    with steerer.attached(pipe), warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(pipe, PROMPTS, **settings)


def test_a_steerer_keeps_its_own_tensors_where_they_are(pipe, steerer):
    before = [id(buffer) for s in steerer.sites.values() for buffer in s.gate.buffers()]
    with steerer.attached(pipe) as run:
        draw(pipe, PROMPTS)
        hooks = [h for p in steerer.sites for h in pipe.unet.get_submodule(p)._diffusers_hook.hooks.values()]
        hooked = [site.steered.gate for hook in hooks for place in hook.places for site in place.steered]
    assert all(gate is not s.gate for gate, s in zip(hooked, steerer.sites.values(), strict=True))
    assert before == [id(buffer) for s in steerer.sites.values() for buffer in s.gate.buffers()]
    assert run.strength == [1.0]


def test_gate_maps_are_what_the_gates_say_even_when_nothing_is_steered(pipe, steerer):
    path = next(iter(steerer.sites))
    seen: list[torch.Tensor] = []
    handle = pipe.unet.get_submodule(path).register_forward_hook(lambda m, a, o: seen.append(o[2:].clone()) and None)
    with steerer.attached(pipe, strength=0, record_gates=True) as run:
        draw(pipe, PROMPTS)
    handle.remove()
    gate = steerer.sites[path].gate
    assert torch.allclose(run.gate_maps()[path].flatten(2), torch.stack([gate(o) for o in seen]), atol=1e-6)
    assert run.gate_maps()[path].shape == (2, 2, 4, 4)  # steps, pictures, height, width
    weights = {p: s.weight for p, s in steerer.sites.items()}
    expected = sum(
        w * torch.nn.functional.interpolate(m.mean(0)[:, None], (16, 16), mode="bilinear")[:, 0]
        for w, m in ((weights[p], maps) for p, maps in run.gate_maps().items())
    ) / sum(weights.values())
    assert torch.allclose(run.concept_map(16, 16), expected, atol=1e-6)


def test_gate_maps_of_several_calls_follow_one_another(pipe, steerer):
    with steerer.attached(pipe, record_gates=True) as run:
        draw(pipe, PROMPTS)
        draw(pipe, PROMPTS[1:], seed=1)
    maps = next(iter(run.gate_maps().values()))
    assert maps.shape[:2] == (2, 3)
    assert torch.allclose(maps[:, 1], maps[:, 2], atol=1e-5)


def test_gate_maps_that_were_not_recorded_are_refused(pipe, steerer):
    with steerer.attached(pipe) as run, pytest.raises(InputError, match="record_gates=True"):
        run.gate_maps()
    with steerer.attached(pipe, record_gates=True) as run, pytest.raises(InputError, match="draw a picture"):
        run.gate_maps()


def test_a_gate_that_reads_a_later_site_answers_from_the_second_step_on(pipe):
    from tiny import GENERATION

    first = find_sites(pipe.unet, "cross-attention")[0].path
    late = find_sites(pipe.unet, "resnets")[-1].path
    steerer = fit(pipe, tiny_concept(), gate="logistic", sites=first, read=late, tau=0.5, generation=GENERATION,
                  progress=False)  # fmt: skip
    with steerer.attached(pipe, record_gates=True) as run:
        draw(pipe, PROMPTS)
        draw(pipe, PROMPTS)
    maps = run.gate_maps()[first]
    assert maps.shape == (2, 4, 4, 4)
    assert (maps[0] == 0).all()
    assert (maps[1] > 0).any()
    assert hooks_left(pipe) == 0


def test_other_sampling_settings_than_the_fits_warn_once(pipe, steerer):
    with steerer.attached(pipe):
        with pytest.warns(UserWarning, match="fitted with num_inference_steps=2"):
            draw(pipe, PROMPTS, num_inference_steps=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw(pipe, PROMPTS, num_inference_steps=3)


def test_nothing_is_copied_to_the_device_step_by_step(pipe, steerer):
    seen = []
    with steerer.attached(pipe, strength=[2, 1]) as run:
        concept = next(iter(run.concepts.values()))
        handle = pipe.unet.register_forward_hook(lambda *_: seen.append(concept.row_strengths) and None)
        draw(pipe, PROMPTS, num_inference_steps=4)
        handle.remove()
    assert len(seen) == 4
    assert all(weights is seen[0] for weights in seen)
    assert seen[0].flatten().tolist() == [0, 0, 2, 1]


def test_sites_of_every_kind(pipe):
    kinds = {preset: find_sites(pipe.unet, preset) for preset in PRESETS if preset != "joint-attention"}
    assert {site.kind for site in kinds["all"]} == {
        "cross-attention", "self-attention", "block", "resnet", "norm", "mid-block"
    }  # fmt: skip
    assert len(kinds["attention"]) == 2 * len(kinds["cross-attention"]) == 2 * len(kinds["blocks"])
    assert kinds["mid-block"][0].path == "mid_block"
    seen: dict[str, tuple[int, ...]] = {}
    handles = [
        pipe.unet.get_submodule(s.path).register_forward_hook(
            lambda m, a, o, path=s.path: seen.update({path: tuple(o.shape)})
        )
        for s in kinds["all"]
    ]
    draw(pipe, PROMPTS)
    for handle in handles:
        handle.remove()
    for site in kinds["all"]:
        shape = seen[site.path]
        assert shape[1 if site.layout == "map" else -1] == site.channels
        assert len(shape) == (4 if site.layout == "map" else 3)


@pytest.mark.parametrize("preset", ["self-attention", "blocks", "resnets", "norms", "mid-block"])
def test_every_kind_of_site_can_be_steered_and_let_go(pipe, plain, preset):
    from tiny import GENERATION

    steerer = fit(pipe, tiny_concept(), gate="always", sites=preset, tau=0.5, generation=GENERATION, progress=False)
    with steerer.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)
    for steered in steerer.sites.values():  # random shifts: a constant one would be normalised away
        steered.method.shift.copy_(torch.randn(steered.site.channels, generator=torch.Generator().manual_seed(0)))
    with steerer.attached(pipe, strength=1):
        assert not torch.equal(draw(pipe, PROMPTS), plain)
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_sites_by_preset_path_and_pattern(pipe):
    every = [site.path for site in find_sites(pipe.unet, ["blocks", "auto", "cross-attention"])]
    crossed = [site.path for site in find_sites(pipe.unet, "cross-attention")]
    blocks = [site.path for site in find_sites(pipe.unet, "blocks")]
    assert sorted(every) == sorted(crossed + blocks)
    assert len(crossed) == len(blocks) == 4  # one down, one mid, two up
    assert [s.path for s in find_sites(pipe.unet, crossed[0])] == crossed[:1]
    assert {s.path for s in find_sites(pipe.unet, ["up_blocks.*.attn2", "mid_block.*.attn2"])} < set(crossed)
    assert {s.channels for s in find_sites(pipe.unet)} == {64}
    with pytest.raises(InputError, match="matches nothing"):
        find_sites(pipe.unet, "nowhere.*")
