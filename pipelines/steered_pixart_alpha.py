"""PixArt-α with steering: loads steerers like LoRAs, and takes `steering_strength=` in its call."""

from diffusers import PixArtAlphaPipeline

from dsas_diffusion import SteeringMixin


class SteeredPixArtAlphaPipeline(SteeringMixin, PixArtAlphaPipeline):
    """Diffusers' `PixArtAlphaPipeline` with steering.

    Example:
        ```python
        pipe = DiffusionPipeline.from_pretrained(
            "PixArt-alpha/PixArt-XL-2-1024-MS",
            custom_pipeline="pipelines/steered_pixart_alpha.py",
            trust_remote_code=True,
        )
        pipe.load_steering("banana-off")
        image = pipe("a banana and an apple on a table", steering_strength=2.0).images[0]
        ```
    """
