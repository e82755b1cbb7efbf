"""Grids behind positions, and maps brought from one grid to another."""

import pytest
import torch

from dsas_diffusion.core.features import grid_of, on_grid
from dsas_diffusion.core.regions import twin_regions
from dsas_diffusion.errors import InputError


@pytest.mark.parametrize(
    ("positions", "latent", "expected"),
    [
        (256, (16, 16), (16, 16)),
        (16, (16, 16), (4, 4)),
        (6144, (64, 96), (64, 96)),
        (96, (64, 96), (8, 12)),
        (35, (13, 10), (7, 5)),
        (1, (5, 3), (1, 1)),
    ],
)
def test_grid_is_a_level_of_the_unet(positions, latent, expected):
    assert grid_of(positions, latent) == expected


@pytest.mark.parametrize("positions", [17, 300, 0])
def test_positions_of_no_level_are_refused(positions):
    with pytest.raises(InputError, match="can't be laid out"):
        grid_of(positions, (16, 16))


def test_coarser_maps_keep_the_mean_and_finer_ones_the_place():
    maps = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    coarse = on_grid(maps, (2, 4))
    assert torch.allclose(coarse, maps.view(3, 2, 4, 4, 2).mean((2, 4)))
    spot = torch.zeros(1, 4, 4)
    spot[0, 1, 2] = 1
    fine = on_grid(spot, (16, 16))[0]
    assert divmod(int(fine.argmax()), 16) in {(y, x) for y in range(4, 8) for x in range(8, 12)}
    assert on_grid(maps.half(), (8, 8)).dtype == torch.float32


def test_twins_differ_where_the_concept_is():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(4, 8, 16, 16, generator=generator)
    source = target + 0.1 * torch.randn(4, 8, 16, 16, generator=generator)
    source[:, :, 3:8, 9:14] += 2.0
    regions = twin_regions(source, target)
    assert regions.dtype == torch.bool
    assert regions.float().mean() == pytest.approx(0.12, abs=0.01)
    assert (regions[:, 4:7, 10:13]).all()
    assert not regions[:, 10:, :7].any()
