"""Look at which tokens a steerer steers, in which layers, and how far.

python examples/token_heat.py

Any language model of Transformers takes the place of Orchard's. The page is one file; open it in a browser.
"""

import sys

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.evaluation.heat_page import heat_page
from dsas_diffusion.evaluation.heat_terminal import heat_lines
from dsas_diffusion.evaluation.token_heat import token_heat
from dsas_diffusion.files import atomic_write

model, tokenizer = orchard.load_language_model()
prompts = dsas.load_prompts("orchard/rudeness")
steerer = dsas.fit(model, prompts, tokenizer=tokenizer)
texts = [prompts.texts(f"tuning_{kind}")[0] for kind in ("source", "control", "mixed")]
heats = token_heat(model, tokenizer, steerer, texts)
print(heat_lines(heats[0], colour=sys.stdout.isatty()))
print(atomic_write("outputs/token_heat.html", heat_page(heats)))
