"""UCE against NumPy's least squares, which minimises the objective that its closed form solves."""

import numpy as np
import pytest
import torch
from tiny import tiny_concept, tiny_pipeline

from benchmarks.baselines.uce import Uce, edited
from dsas_diffusion.errors import InputError
from dsas_diffusion.sweeps.technique import Conditions


def test_the_closed_form_minimises_its_objective():
    generator = torch.Generator().manual_seed(0)
    weight, erased, instead, preserved = (
        torch.randn(*shape, generator=generator, dtype=torch.double) for shape in ((5, 8), (3, 8), (3, 8), (4, 8))
    )
    a, b, r = 2.0, 0.7, 0.3
    # a |W'c − Wc*|² + b |W'p − Wp|² + r |W' − W|², as one system of rows
    rows = torch.cat([a**0.5 * erased, b**0.5 * preserved, r**0.5 * torch.eye(8, dtype=torch.double)])
    wanted = torch.cat([a**0.5 * instead @ weight.T, b**0.5 * preserved @ weight.T, r**0.5 * weight.T])
    expected = np.linalg.lstsq(rows.numpy(), wanted.numpy(), rcond=None)[0].T
    assert np.allclose(edited(weight, erased, instead, preserved, a, b, r).numpy(), expected)


def test_keys_and_values_of_cross_attention_change_by_strength_times_the_edit(tmp_path):
    pipe = tiny_pipeline()
    before = {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}
    technique = Uce(words="label", positions="last", preserve=0.0, ridge=1e-6)
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")
    states = {text: pipe.encode_prompt([text], pipe.device, 1, False)[0][0] for text in ("zzz", "")}
    touched = set()
    with technique.applied(pipe, 1.0):
        for name, tensor in pipe.unet.state_dict().items():
            if not torch.equal(tensor, before[name]):
                touched.add(name)
                # with nothing to preserve, the concept's last token (3, behind the start) gets the start's value
                assert torch.allclose(tensor @ states["zzz"][3], before[name] @ states[""][0], atol=1e-2)
    assert touched == {name for name in before if "attn2.to_k" in name or "attn2.to_v" in name}
    one = next(iter(touched))
    with technique.applied(pipe, 1.0):
        whole = pipe.unet.state_dict()[one] - before[one]
    with technique.applied(pipe, 3.0):
        assert torch.allclose(pipe.unet.state_dict()[one] - before[one], 3 * whole, atol=1e-5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="ridge 0"):
        Uce(ridge=0)
    with pytest.raises(InputError, match="'middle'"):
        Uce(positions="middle")
