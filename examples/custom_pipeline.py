"""Load a repository through a custom pipeline, and draw a prompt with the steerer of fit_concept.py at four strengths.

python examples/custom_pipeline.py

On a real checkpoint only the repository changes; `pipelines/` has a file for each family.
"""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image

from dsas_diffusion import orchard

REPOSITORY = Path(orchard.__file__).parent / "weights" / "unet"  # or a hub id
CUSTOM = Path(__file__).parents[1] / "pipelines" / "steered_sd.py"
PROMPT = "a banana on the left and an apple on the right"
STRENGTHS = [0.0, 1.0, 2.0, 3.0]

pipe = DiffusionPipeline.from_pretrained(
    REPOSITORY, custom_pipeline=str(CUSTOM), trust_remote_code=True, dtype=torch.float32
)
pipe.load_steering("outputs/banana-off")
print(f"{type(pipe).__name__} with {pipe.get_active_steering()}")

generators = [torch.Generator().manual_seed(1) for _ in STRENGTHS]
pictures = pipe(
    [PROMPT] * len(STRENGTHS), generator=generators, num_inference_steps=20, steering_strength=STRENGTHS
).images

strip = Image.new("RGB", (len(pictures) * 256, 256))
for column, picture in enumerate(pictures):
    strip.paste(picture.resize((256, 256), Image.Resampling.NEAREST), (column * 256, 0))
strip.save("outputs/strengths.png")
print(f"look at outputs/strengths.png: λ = {', '.join(map(str, STRENGTHS))} from left to right")
