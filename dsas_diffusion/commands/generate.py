"""`dsas generate`: draw or continue prompts with a steerer attached, beside what the model makes of them without it."""

from pathlib import Path

from ..continuing import CONTINUATIONS, TOKENS, Writer, continue_into, sampling, shown
from ..drawing import GRID, draw_into
from ..hooks.calls import Tokens
from ..hooks.steerer import Steerer
from ..models import Precision
from .options import Switch, asked_prompts, drawing_settings, load_model, templated, writes


def generate(
    steerer: str,
    out: str,
    model: str = "orchard",
    prompt: list[str] | str | None = None,
    prompts: str | None = None,
    strength: float | None = None,
    start: float = 0.0,
    end: float = 1.0,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    tokens: Tokens | None = None,
    chat: Switch = "auto",
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    samples: int | None = None,
    twins: bool = True,
    gates: bool = False,
    batch_size: int = 16,
    precision: Precision = "float32",
    device: str | None = None,
) -> None:
    """Draw or continue prompts with a steerer attached, beside what the model makes of them without it.

    Args:
        steerer: The steerer's folder or hub id.
        out: Folder for the pictures, prompts.jsonl and grid.png, or for continuations.jsonl; earlier ones there are
            replaced.
        model: The model that the steerer was fitted on: a pipeline (orchard, a folder in Diffusers' format, a hub id)
            or a language model (orchard/language, a folder in Transformers' format, a hub id).
        prompt: A text, or several as a list.
        prompts: A .jsonl or .csv file of prompts, instead.
        strength: The strength; by default the steerer's own.
        start: Share of the steps after which steering begins.
        end: Share of the steps after which it ends.
        seed: Seed of the first picture, or of the first batch of texts; the others follow.
        num_inference_steps: Denoising steps; by default those of the fit.
        guidance_scale: Guidance scale; by default that of the fit.
        tokens: Which tokens of a language model's texts to steer: those of the prompt, its last one alone (last),
            those that continue it, or prompt and continuation (both, the default).
        chat: Whether to put a language model's prompts into the tokenizer's chat template; auto does as the fit did.
        max_new_tokens: How many tokens continue a prompt at most; by default those of the fit, or 50.
        temperature: Sample from a language model at this temperature; 0 takes the most likely token each time. By
            default as the model's own settings say, which is mostly that.
        top_p: Sample from the most likely tokens that have this share of the chances.
        samples: How many continuations of each prompt.
        twins: Draw or continue each prompt without steering too.
        gates: Write down, too, where the gates were open: gates.png, or in continuations.jsonl each token's score.
        batch_size: Prompts at a time.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If something handed in can't be used.
    """
    asked = asked_prompts(prompt, prompts)
    drawing = drawing_settings(num_inference_steps, guidance_scale)
    window = {"start": start or None, "end": None if end == 1 else end}
    writing = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "samples": samples}
    language = writes(
        model, {**drawing, **window}, {**writing, "tokens": tokens, "chat": None if chat == "auto" else chat}
    )
    continuing = sampling(max_new_tokens, temperature, top_p, samples)
    loaded = Steerer.from_pretrained(steerer)
    pipe, tokenizer = load_model(model, language, device, precision)
    if language:
        generation = {"max_new_tokens": TOKENS, **loaded.manifest["generation"], **continuing}
        writer = Writer(pipe, tokenizer, generation, seed, batch_size, templated(loaded, chat))
        attached = {"strength": strength, "tokens": tokens or "both"}
        rows = continue_into(out, writer, loaded, asked, twins, gates, **attached)
        print(f"{shown(rows)}\n\nContinuations: {len(rows)}, in {Path(out) / CONTINUATIONS}.")
        return
    generation = {**loaded.manifest["generation"], **drawing}
    attached = {"strength": strength, "start": start, "end": end}
    draw_into(out, pipe, loaded, asked, seed, generation, batch_size, twins, gates, **attached)
    print(f"Pictures drawn: {len(asked)}. Look at {Path(out) / GRID}.")
