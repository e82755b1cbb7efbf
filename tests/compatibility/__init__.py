"""Steering beside the rest of Diffusers.

Each test says with `@works` what it shows, and `tools/compatibility.py` writes docs/compatibility.md from that.
"""

#: The sections of the page, in order.
PARTS = (
    "Guidance",
    "Batches",
    "LoRA",
    "IP-Adapter",
    "Memory",
    "Precision",
    "Caches",
    "Calls",
    "Errors",
    "Compilation",
)
#: What stands above the families.
FAMILIES = (
    "Each is built tiny, from its real classes with random weights, fitted, steered, saved and loaded; which rows "
    "follow the prompt and where the image lies among the tokens is held against what is known of it (`tests/zoo`, "
    "`tests/test_families.py`):",
)
#: What nobody has tried, for the page.
NOT_TRIED = (
    "offload to and from a GPU, and streams in group offload: the tests move weights between the processor and itself",
    "a LoRA or an IP-Adapter that is loaded while offload is on, for which Diffusers wants a GPU; hot-swapped LoRAs",
    "IP-Adapter Plus, Full Face and Face ID, and several at once",
    "quantised weights by bitsandbytes, GGUF and Quanto, and in four bits",
    "SeaCache, which skips nothing on the tiny pipelines: only that attaching under it is an error; and TextKVCache",
    "context and tensor parallelism",
)
