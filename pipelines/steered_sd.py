"""Stable Diffusion 1 and 2 with steering: loads steerers like LoRAs, and takes `steering_strength=` in its call."""

from diffusers import StableDiffusionPipeline

from dsas_diffusion import SteeringMixin


class SteeredStableDiffusionPipeline(SteeringMixin, StableDiffusionPipeline):
    """Diffusers' `StableDiffusionPipeline` with steering.

    Example:
        ```python
        pipe = DiffusionPipeline.from_pretrained(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            custom_pipeline="pipelines/steered_sd.py",
            trust_remote_code=True,
        )
        pipe.load_steering("banana-off")
        image = pipe("a banana and an apple on a table", steering_strength=2.0).images[0]
        ```
    """
