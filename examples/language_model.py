"""Fit a steerer on a language model, continue prompts with and without it, and count what is rude.

python examples/language_model.py

On a real checkpoint only the first line changes: model, tokenizer = AutoModelForCausalLM.from_pretrained(…),
AutoTokenizer.from_pretrained(…); and the judge.
"""

import dsas_diffusion as dsas
from dsas_diffusion import orchard

model, tokenizer = orchard.load_language_model()
prompts = dsas.load_prompts("orchard/rudeness")
# Learned from the last token of each prompt, where the model decides how to go on; sites that tell less surely than
# tau open now and then where nobody is rude, and are left alone.
steerer = dsas.fit(model, prompts, tokenizer=tokenizer, sites="attention", tokens="last", tau=0.9)


def answers(texts: list[str]) -> list[str]:
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    made = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    return tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


for group in ("heldout_source", "heldout_control"):
    texts = prompts.texts(group)
    plain = answers(texts)
    with steerer.attached(model):
        steered = answers(texts)
    for text, before, after in list(zip(texts, plain, steered, strict=True))[:3]:
        print(f"{text}\n  unsteered: {before}\n  steered:   {after}")
    rude = [f"{(orchard.rudeness(said) >= 0.5).mean():.0%}" for said in (plain, steered)]
    same = sum(before == after for before, after in zip(plain, steered, strict=True)) / len(texts)
    print(f"{group}: rude {rude[0]} unsteered, {rude[1]} steered; {same:.0%} of {len(texts)} answers the same\n")
