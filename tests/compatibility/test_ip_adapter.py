"""IP-Adapters, which take the place of attention processors and bring layers of their own into the denoiser."""

import pytest
import torch
from tiny import open_steerer
from works import works

import dsas_diffusion as dsas
from compatibility import ip_adapters
from compatibility.case import HEADS, KINDS, QUIET, Case, assert_clean, both_orders, pictures_of
from dsas_diffusion.hooks.fingerprint import weights_of
from dsas_diffusion.hooks.sites import all_sites

pytestmark = QUIET


@works("IP-Adapter", "`load_ip_adapter`, `set_ip_adapter_scale`, and `unload_ip_adapter` while attached",
       "either order, with a steerer that was fitted without it; no layer of its own is a site",
       "sd sd3 flux sdxl")  # fmt: skip
@pytest.mark.parametrize("sites", KINDS)
def test_ip_adapter(name, sites):
    case = Case(name, sites)
    known, weights = all_sites(case.denoiser), weights_of(case.denoiser)
    plain = both_orders(case, lambda: ip_adapters.load(case))[0]
    assert all_sites(case.denoiser) == known
    assert weights_of(case.denoiser) == weights
    assert (plain - pictures_of(name, sites)[0]).abs().amax() > 0.01
    with case.steerer.attached(case.pipe):
        case.pipe.set_ip_adapter_scale(0.0)
        assert torch.allclose(case.draw(), pictures_of(name, sites)[1], atol=1e-3)
        case.pipe.set_ip_adapter_scale(1.0)
        ip_adapters.unload(case)
        assert torch.equal(case.draw(), pictures_of(name, sites)[1])
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), pictures_of(name, sites)[0])


@works("IP-Adapter", "Its guidance, where the unconditional half has a picture of its own",
       "only rows that follow the prompt are steered", "sd flux sd3 sdxl")  # fmt: skip
def test_guidance_with_an_ip_adapter(name):
    case = Case(name)
    ip_adapters.load(case)
    found = case.rows(case.draw)
    assert found[:2] == ["11", "00"] if name == "flux" else found[0] == "0011"


@works("IP-Adapter", "A steerer that was fitted while one was on",
       "fits the model with that one, with none and with another", "sd sd3 flux")  # fmt: skip
@pytest.mark.parametrize("sites", ["auto", HEADS])
def test_fitted_with_an_ip_adapter(name, sites, tmp_path):
    case = Case(name, sites)
    ip_adapters.load(case)
    steerer = open_steerer(case.pipe, sites=sites, generation={**case.family.generation, **case.settings})
    assert steerer.sites.keys() == case.steerer.sites.keys()
    steerer = dsas.Steerer.from_pretrained(steerer.save_pretrained(tmp_path / "steerer"))
    plain = case.draw()
    with steerer.attached(case.pipe):
        assert (case.draw() - plain).abs().amax() > 0.01
    ip_adapters.unload(case)
    with steerer.attached(case.pipe):
        assert (case.draw() - pictures_of(name)[0]).abs().amax() > 0.01
        ip_adapters.load(case, seed=2)
    with steerer.attached(case.pipe):
        assert (case.draw() - plain).abs().amax() > 0.01
    assert_clean(case.pipe)
