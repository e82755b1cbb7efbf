"""Transformers' `generate` with a steerer of dsas-diffusion attached."""

from dsas_diffusion.generating import steered_generate


def generate(model, steerer=None, steering_strength=None, steering_tokens="both", **kwargs):
    """Generate as the model does, with one concept suppressed.

    Args:
        model: The model; Transformers hands it in.
        steerer: A `dsas_diffusion.Steerer`, its folder or its hub id.
        steering_strength: λ: one number, or one per prompt of the batch; by default the steerer's own, 0 for none.
        steering_tokens: Which tokens to steer: "prompt", "continuation" or "both".
        **kwargs: Everything else that `generate` takes.

    Returns:
        What `generate` returns.
    """
    return steered_generate(model, steerer, steering_strength, steering_tokens, **kwargs)
