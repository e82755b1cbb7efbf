"""The public names; importing it loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters import (
        SteeringMixin,
        delete_steering,
        disable_steering,
        enable_steering,
        get_active_steering,
        get_list_steering,
        load_steering,
        set_steering,
        unload_steering,
    )
    from .calibration import calibrate
    from .errors import InputError
    from .fitting.fit import fit
    from .fitting.training_loop import DivergedError, Training
    from .hooks.attention_maps import AttentionMaps
    from .hooks.attention_processor import DSASAttnProcessor
    from .hooks.card import Card, Continuation
    from .hooks.steerer import Steerer
    from .prompts import PromptSet, load_prompts
    from .texts.evaluation import evaluate_language
    from .texts.suite import TextSuite

__version__ = "0.1.0.dev0"

# Name → module that holds it, imported when the name is first asked for (PEP 562): torch loads only when needed.
# No module may be called like a public name: importing a submodule `fit` would put the module in the function's place.
_HOMES = {
    "AttentionMaps": "hooks.attention_maps",
    "Card": "hooks.card",
    "Continuation": "hooks.card",
    "DSASAttnProcessor": "hooks.attention_processor",
    "DivergedError": "fitting.training_loop",
    "InputError": "errors",
    "PromptSet": "prompts",
    "Steerer": "hooks.steerer",
    "SteeringMixin": "adapters",
    "TextSuite": "texts.suite",
    "Training": "fitting.training_loop",
    "calibrate": "calibration",
    "delete_steering": "adapters",
    "disable_steering": "adapters",
    "enable_steering": "adapters",
    "evaluate_language": "texts.evaluation",
    "fit": "fitting.fit",
    "get_active_steering": "adapters",
    "get_list_steering": "adapters",
    "load_prompts": "prompts",
    "load_steering": "adapters",
    "set_steering": "adapters",
    "unload_steering": "adapters",
}

__all__ = [
    "AttentionMaps",
    "Card",
    "Continuation",
    "DSASAttnProcessor",
    "DivergedError",
    "InputError",
    "PromptSet",
    "Steerer",
    "SteeringMixin",
    "TextSuite",
    "Training",
    "__version__",
    "calibrate",
    "delete_steering",
    "disable_steering",
    "enable_steering",
    "evaluate_language",
    "fit",
    "get_active_steering",
    "get_list_steering",
    "load_prompts",
    "load_steering",
    "set_steering",
    "unload_steering",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
