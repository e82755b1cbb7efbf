"""Steering switched on for as long as it is timed."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from dsas_diffusion.hooks.attached_concept import AttachedConcept
from dsas_diffusion.hooks.attachment import Attachment
from dsas_diffusion.hooks.hosts import Host
from dsas_diffusion.hooks.steered_site import SteeredSite


@contextmanager
def attached(host: Host, sites: Sequence[SteeredSite]) -> Generator[Attachment]:
    """Steer with λ = 1 for as long as the context lasts.

    Args:
        host: The model.
        sites: What to do where.
    """
    attachment = Attachment(host, [AttachedConcept("random", list(sites), 1.0)])
    try:
        yield attachment
    finally:
        attachment.detach()
