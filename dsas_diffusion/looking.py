"""`dsas heat`: which tokens a steerer steers, in which layers and how far, in the terminal and as a page."""

import shutil
import sys
from typing import Literal

from .commands import load_for_texts
from .errors import InputError
from .evaluation.heat_page import heat_page
from .evaluation.heat_terminal import heat_lines
from .evaluation.token_heat import token_heat
from .files import atomic_write
from .hooks.calls import Tokens
from .hooks.steerer import Steerer
from .models import Precision
from .prompts import read_prompts

#: Columns where the output is no terminal.
_WIDTH = 100


def heat(
    steerer: str,
    model: str = "orchard/language",
    prompt: list[str] | str | None = None,
    prompts: str | None = None,
    out: str | None = None,
    strength: float | None = None,
    tokens: Tokens = "both",
    chat: Literal["auto", "on", "off"] = "auto",
    colour: Literal["auto", "on", "off"] = "auto",
    batch_size: int = 16,
    precision: Precision = "float32",
    device: str | None = None,
) -> None:
    """Read texts with a steerer attached and without, and show each token's gates and changes, layer by layer.

    Args:
        steerer: The steerer's folder or hub id.
        model: The language model that it was fitted on: orchard/language, a folder in Transformers' format, a hub id.
        prompt: A text, or several as a list. It is read and not continued; a continuation may be part of it.
        prompts: A .jsonl or .csv file of texts, instead.
        out: Write a page to this HTML file, and nothing to the terminal.
        strength: The strength; by default the steerer's own.
        tokens: Which tokens to steer; all of a text that is only read are the prompt's.
        chat: Whether to put texts into the tokenizer's chat template; auto does as the fit did.
        colour: Whether to colour figures; auto does in a terminal.
        batch_size: Texts at a time.
        precision: The type of the model's weights.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If something handed in can't be used.
    """
    if (prompt is None) == (prompts is None):
        raise InputError("Give either prompt, one text or several, or prompts, a file.")
    texts = [prompt] if isinstance(prompt, str) else prompt or []
    asked = texts if prompts is None else [each.text for each in read_prompts(prompts)]
    loaded = Steerer.from_pretrained(steerer)
    pipe, tokenizer = load_for_texts(model, device, precision)
    templated = loaded.manifest.get("text", {}).get("chat", False) if chat == "auto" else chat == "on"
    heats = token_heat(
        pipe, tokenizer, loaded, asked, strength=strength, tokens=tokens, chat=templated, batch_size=batch_size
    )
    if out is not None:
        print(f"Wrote {atomic_write(out, heat_page(heats))}.")
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH
    coloured = terminal if colour == "auto" else colour == "on"
    print("\n\n".join(heat_lines(each, width, coloured) for each in heats))
