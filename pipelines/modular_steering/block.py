"""A Modular Diffusers block that steers another block: the denoising of any modular pipeline."""

from typing import Any

from diffusers.modular_pipelines import (
    ComponentSpec,
    ConfigSpec,
    InputParam,
    ModularPipeline,
    ModularPipelineBlocks,
    OutputParam,
    PipelineState,
)

from dsas_diffusion import InputError, Steerer


class SteeredDenoiseStep(ModularPipelineBlocks):
    """Runs a denoising block with a steerer attached; hooks are out again when it ends, however it ends.

    It stands where the block stood, takes the same inputs and two more, and gives the same outputs. Without `steering`
    it does nothing of its own.

    Args:
        denoise: The block of the pipeline that holds the denoising loop.

    Example:
        ```python
        blocks = ModularPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0").blocks
        blocks.sub_blocks["denoise"] = ModularPipelineBlocks.from_pretrained(
            "pipelines/modular_steering", trust_remote_code=True, denoise=blocks.sub_blocks["denoise"]
        )
        pipe = blocks.init_pipeline("stabilityai/stable-diffusion-xl-base-1.0")
        pipe.load_components()
        image = pipe(prompt="a banana on a table", steering="banana-off", steering_strength=2.0, output="images")[0]
        ```
    """

    def __init__(self, denoise: ModularPipelineBlocks) -> None:
        super().__init__()
        self.denoise = denoise

    @property
    def model_name(self) -> str | None:
        return self.denoise.model_name

    @property
    def description(self) -> str:
        return f"Steers the model while this runs: {self.denoise.description}"

    @property
    def expected_components(self) -> list[ComponentSpec]:
        return self.denoise.expected_components

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        return self.denoise.expected_configs

    @property
    def inputs(self) -> list[InputParam]:
        return [
            *self.denoise.inputs,
            InputParam(
                "steering",
                type_hint=Steerer | str,
                description="A steerer, its folder or its hub id; None draws as if this block were not there.",
            ),
            InputParam(
                "steering_strength",
                type_hint=float | list[float],
                description="How strongly to steer, one number or one per prompt; None for the steerer's own.",
            ),
        ]

    @property
    def required_inputs(self) -> list[str]:
        return self.denoise.required_inputs

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        return self.denoise.intermediate_outputs

    def __call__(self, components: ModularPipeline, state: PipelineState) -> tuple[Any, PipelineState]:
        steering, strength = state.get("steering"), state.get("steering_strength")
        if steering is None:
            if strength is not None:
                raise InputError(f"steering_strength={strength} has nothing to steer with. Give steering= as well.")
            return self.denoise(components, state)
        steerer = steering if isinstance(steering, Steerer) else Steerer.from_pretrained(steering)
        with steerer.attached(components, strength):
            return self.denoise(components, state)
