"""`dsas heat`: which tokens a steerer steers, in which layers and how far, in the terminal and as a page."""

import shutil
import sys

from ..evaluation.heat_page import heat_page
from ..evaluation.heat_terminal import heat_lines
from ..evaluation.token_heat import token_heat
from ..files import atomic_write
from ..hooks.calls import Tokens
from ..hooks.steerer import Steerer
from ..models import Precision
from .options import Switch, asked_prompts, load_for_texts, templated

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
    chat: Switch = "auto",
    colour: Switch = "auto",
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
    asked = [each.text for each in asked_prompts(prompt, prompts)]
    loaded = Steerer.from_pretrained(steerer)
    pipe, tokenizer = load_for_texts(model, device, precision)
    heats = token_heat(
        pipe,
        tokenizer,
        loaded,
        asked,
        strength=strength,
        tokens=tokens,
        chat=templated(loaded, chat),
        batch_size=batch_size,
    )
    if out is not None:
        print(f"Wrote {atomic_write(out, heat_page(heats))}.")
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH
    coloured = terminal if colour == "auto" else colour == "on"
    print("\n\n".join(heat_lines(each, width, coloured) for each in heats))
