"""Fit a steerer on a language model, continue prompts with and without it, and count what is rude.

python examples/language_model.py

On a real checkpoint only the first line changes: model, tokenizer = AutoModelForCausalLM.from_pretrained(…),
AutoTokenizer.from_pretrained(…); and the judge.
"""

import dsas_diffusion as dsas
from dsas_diffusion import orchard

model, tokenizer = orchard.load_language_model()
prompts = dsas.load_prompts("orchard/rudeness")
steerer = dsas.fit(
    model,
    prompts,
    tokenizer=tokenizer,
    tokens="continuation",  # learned from what the model answers
    strength=2.0,  # chosen on tuning prompts
    generation={"max_new_tokens": 40},
)

texts = prompts.texts("heldout_source")
inputs = tokenizer(texts, return_tensors="pt", padding=True)


def answers() -> list[str]:
    made = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    return tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


before = answers()
with steerer.attached(model):
    after = answers()
for text, plain, steered in list(zip(texts, before, after, strict=True))[:3]:
    print(f"{text}\n  unsteered: {plain}\n  steered:   {steered}")
for name, said in (("unsteered", before), ("steered", after)):
    print(f"{name}: {(orchard.rudeness(said) >= 0.5).mean():.0%} of {len(said)} answers are rude")
