"""Stable Diffusion XL with steering: loads steerers like LoRAs, and takes `steering_strength=` in its call."""

from diffusers import StableDiffusionXLPipeline

from dsas_diffusion import SteeringMixin


class SteeredStableDiffusionXLPipeline(SteeringMixin, StableDiffusionXLPipeline):
    """Diffusers' `StableDiffusionXLPipeline` with steering.

    Example:
        ```python
        pipe = DiffusionPipeline.from_pretrained(
            "stabilityai/stable-diffusion-xl-base-1.0",
            custom_pipeline="pipelines/steered_sdxl.py",
            trust_remote_code=True,
        )
        pipe.load_steering("banana-off")
        image = pipe("a banana and an apple on a table", steering_strength=2.0).images[0]
        ```
    """
