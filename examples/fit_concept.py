"""Fit a steerer for one concept and save it.

python examples/fit_concept.py

On a real checkpoint only the first line changes: pipe = DiffusionPipeline.from_pretrained(…), and the prompts are
"banana", "dog", "car", "logo", "ukiyo-e", or a folder of your own (docs/own-concept.md).
"""

import dsas_diffusion as dsas
from dsas_diffusion import orchard

pipe = orchard.load_pipeline("unet")
prompts = dsas.load_prompts("orchard/banana")
steerer = dsas.fit(
    pipe,
    prompts,
    method="caa",
    gate="patch",
    strength=3.0,
    generation={"num_inference_steps": 20, "guidance_scale": 7.5},
)
for site in steerer.diagnose().sites:
    print(f"{site['path']}: accuracy {site['accuracy']:.2f}, weight {site['weight']:.2f}")
print("saved to", steerer.save_pretrained("outputs/banana-off", overwrite=True))
