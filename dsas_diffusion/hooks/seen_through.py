"""Which attention processors can be seen through, and why others can't."""

from typing import Any, Final

from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from torch import nn

from ..errors import InputError

#: Backends of Diffusers that attend by torch's own function.
SEEN_THROUGH: Final = ("native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math")
#: What a processor's code calls where it attends by that function, itself or through a backend.
_BY_BACKEND: Final = "dispatch_attention_fn"
_ATTENDING: Final = ("scaled_dot_product_attention", _BY_BACKEND)
_NO_CODE: Final = (lambda: None).__code__


def check_seen_through(processor: Any, path: str) -> None:
    """Refuse an attention processor that doesn't attend by torch's own function, or in a way that can't be followed.

    Args:
        processor: The processor, not wrapped.
        path: Its module's path in the model, for the message; may be empty.

    Raises:
        InputError: Saying why, and what to do.
    """
    name, place = type(processor).__name__, f"at {path} " if path else ""
    called = {
        used
        for kind in type(processor).__mro__
        for used in getattr(vars(kind).get("__call__"), "__code__", _NO_CODE).co_names
    }
    backend = getattr(processor, "_attention_backend", None) or _AttentionBackendRegistry.get_active_backend()[0]
    if name.startswith("Sliced"):
        reason = "attends slice by slice. Call `disable_attention_slicing()` and attach again"
    elif isinstance(processor, nn.Module):
        reason = (
            "has weights of its own, as an IP-Adapter's has, which would be missing from the model while it is "
            "wrapped. Unload the adapter and attach again, or choose other sites"
        )
    elif not called & set(_ATTENDING):
        reason = (
            "doesn't attend by torch's `scaled_dot_product_attention`. Where softmax attention is meant, set one that "
            "does, such as `set_attn_processor(AttnProcessor2_0())`, and attach again; else choose other sites"
        )
    elif _BY_BACKEND in called and str(getattr(backend, "value", backend)) not in SEEN_THROUGH:
        reason = (
            f'attends by the backend {getattr(backend, "value", backend)!r}. Call `set_attention_backend("native")` '
            "on the denoiser and attach again, or choose other sites"
        )
    elif getattr(processor, "_parallel_config", None) is not None:
        reason = "attends on several devices. Switch parallelism off and attach again, or choose other sites"
    else:
        return
    raise InputError(f"The attention processor {name} {place}can't be seen through: it {reason}.")
