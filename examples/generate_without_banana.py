"""Draw pictures with and without the steerer of fit_concept.py.

python examples/generate_without_banana.py
"""

from pathlib import Path

import torch
from PIL import Image

import dsas_diffusion as dsas
from dsas_diffusion import orchard

PROMPTS = ["a banana on a blue table", "a banana on the left and an apple on the right", "a pear on a pink table"]

pipe = orchard.load_pipeline("unet")
steerer = dsas.Steerer.from_pretrained("outputs/banana-off")


def draw() -> list[Image.Image]:
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    return pipe(PROMPTS, generator=generators, num_inference_steps=20).images


before = draw()
with steerer.attached(pipe, record_gates=True) as run:
    after = draw()
where = run.concept_map(64, 64)  # (pictures, height, width): how far each place was steered, in [0, 1]

sheet = Image.new("RGB", (2 * 256, len(PROMPTS) * 256))
for row, (plain, steered) in enumerate(zip(before, after, strict=True)):
    for column, picture in enumerate((plain, steered)):
        sheet.paste(picture.resize((256, 256), Image.Resampling.NEAREST), (column * 256, row * 256))
    print(f"{PROMPTS[row]!r}: steered over {float((where[row] > 0.1).float().mean()):.0%} of the picture")
Path("outputs").mkdir(exist_ok=True)
sheet.save("outputs/without_banana.png")
print("look at outputs/without_banana.png")
