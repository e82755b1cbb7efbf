"""A hook at one module that comes out again whatever has been put on top of it since."""

from typing import TYPE_CHECKING

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

if TYPE_CHECKING:
    from .site_hook import SiteHook


class Registration:
    """A hook in a module's registry.

    Args:
        module: The module.
        hook: The hook.
        name: Its name in the registry.
    """

    def __init__(self, module: nn.Module, hook: "SiteHook", name: str) -> None:
        self.module, self.hook, self.name = module, hook, name
        self._registry = HookRegistry.check_if_exists_or_initialize(module)
        self._registry.register_hook(hook, name)
        self._forward = module.forward

    def remove(self) -> None:
        """Take the hook out: wherever its forward stands, what lies below it takes its place.

        The registry alone would switch off a cache above the hook, and bring the hook back together with the cache's
        end; and it would throw out the offload of accelerate, which wraps `forward` without the registry.
        """
        references = self._registry._fn_refs
        below = references[self._registry._hook_order.index(self.name)].forward
        places = [(ref, name) for ref in references for name in ("forward", "original_forward")]
        places += [(self.module, name) for name in ("forward", "_old_forward")]
        stood = [(*place, getattr(*place, None)) for place in places]
        self._registry.remove_hook(self.name, recurse=False)
        for holder, name, forward in stood:
            if forward is not None:
                setattr(holder, name, below if forward is self._forward else forward)


def hooks_of(module: nn.Module) -> dict[str, ModelHook]:
    """Give a module's hooks by name.

    Args:
        module: The module.
    """
    registry = getattr(module, "_diffusers_hook", None)
    return registry.hooks if registry is not None else {}


def is_cached(denoiser: nn.Module) -> bool:
    """Whether a step-skipping cache is on, by `enable_cache` or as hooks that stand in for what they remember.

    Args:
        denoiser: The model.
    """
    return getattr(denoiser, "is_cache_enabled", False) or any(
        hook._is_stateful and hasattr(hook, "new_forward")
        for module in denoiser.modules()
        for hook in hooks_of(module).values()
    )


def reset_caches(denoiser: nn.Module) -> None:
    """Let the caches forget what they keep, as every run does when it ends.

    Args:
        denoiser: The model.
    """
    HookRegistry.check_if_exists_or_initialize(denoiser).reset_stateful_hooks()
