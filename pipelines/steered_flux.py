"""FLUX.1 with steering: loads steerers like LoRAs, and takes `steering_strength=` in its call."""

from diffusers import FluxPipeline

from dsas_diffusion import SteeringMixin


class SteeredFluxPipeline(SteeringMixin, FluxPipeline):
    """Diffusers' `FluxPipeline` with steering.

    Example:
        ```python
        pipe = DiffusionPipeline.from_pretrained(
            "black-forest-labs/FLUX.1-dev",
            custom_pipeline="pipelines/steered_flux.py",
            trust_remote_code=True,
        )
        pipe.load_steering("banana-off")
        image = pipe("a banana and an apple on a table", steering_strength=2.0).images[0]
        ```
    """
