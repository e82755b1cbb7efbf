"""Stable Diffusion 3 with steering: loads steerers like LoRAs, and takes `steering_strength=` in its call."""

from diffusers import StableDiffusion3Pipeline

from dsas_diffusion import SteeringMixin


class SteeredStableDiffusion3Pipeline(SteeringMixin, StableDiffusion3Pipeline):
    """Diffusers' `StableDiffusion3Pipeline` with steering.

    Example:
        ```python
        pipe = DiffusionPipeline.from_pretrained(
            "stabilityai/stable-diffusion-3.5-medium",
            custom_pipeline="pipelines/steered_sd3.py",
            trust_remote_code=True,
        )
        pipe.load_steering("banana-off")
        image = pipe("a banana and an apple on a table", steering_strength=2.0).images[0]
        ```
    """
