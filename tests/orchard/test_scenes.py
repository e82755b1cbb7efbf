"""Scenes: the same seed gives the same picture, masks and caption; every object is drawn in every look."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dsas_diffusion import orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.scenes import render
from dsas_diffusion.orchard.specs import ObjectSpec, SceneSpec, sample_spec
from dsas_diffusion.orchard.world import LOOKS, OBJECT_COLOURS, OBJECTS, SEEDS, check_name

SEED = SEEDS["test"].start


def digest(seeds: range) -> str:
    """Hash pictures, masks and captions."""
    found = hashlib.sha256()
    for seed in seeds:
        scene = render(seed)
        found.update(scene.image.tobytes() + scene.caption.encode())
        for thing in scene.objects:
            found.update(thing.name.encode() + thing.mask.tobytes())
    return found.hexdigest()


def test_another_process_draws_the_same():
    program = f"import sys; sys.path.insert(0, {sys.path[0]!r})\n" + (
        "import hashlib\nfrom dsas_diffusion.orchard.scenes import render\nfound = hashlib.sha256()\n"
        f"for seed in range({SEED}, {SEED + 25}):\n"
        "    scene = render(seed)\n    found.update(scene.image.tobytes() + scene.caption.encode())\n"
        "    for thing in scene.objects:\n        found.update(thing.name.encode() + thing.mask.tobytes())\n"
        "print(found.hexdigest())"
    )
    for hash_seed in ("0", "1"):  # the order of sets must not matter
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
        other = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert other.stdout.strip() == digest(range(SEED, SEED + 25))


def test_drawing_leaves_the_global_random_state_alone():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 - the state that must stay
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    render(SEED)
    orchard.sample_prompts(5, 1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_drawn_in_every_look(name, look):
    for colour in OBJECT_COLOURS.get(name, ("",)):
        for size in orchard.SIZES:
            spec = SceneSpec((ObjectSpec(name, colour, size),), "wooden", look)
            scene = render(SEED, spec)
            empty = render(SEED, SceneSpec((), "wooden", look))
            assert scene.image.size == (64, 64)
            assert scene.image.mode == "RGB"
            assert scene.image.tobytes() != empty.image.tobytes()
            [thing] = scene.objects
            assert thing.name == name
            assert thing.mask.shape == (64, 64)
            assert thing.mask.dtype == bool
            assert 60 <= thing.mask.sum() <= 64 * 64 / 2
            assert thing.attributes["size"] == size
            assert thing.attributes.get("colour", "") == colour


def test_masks_are_disjoint_and_where_the_picture_changed():
    pairs = 0
    for seed in range(SEED, SEED + 120):
        scene = render(seed)
        for one, two in combinations(scene.objects, 2):
            assert not (one.mask & two.mask).any()
            pairs += 1
    assert pairs > 30
    for seed in range(20):  # a sharp object changes the pixels of its mask, and only those near it and its shadow
        things = (ObjectSpec("orange", size="medium"),)
        with_it, without = (
            np.asarray(render(seed, SceneSpec(objects, "blue")).image).astype(int) for objects in (things, ())
        )
        mask = render(seed, SceneSpec(things, "blue")).objects[0].mask
        changed = np.abs(with_it - without).max(-1) > 8
        assert changed[mask].mean() > 0.97
        assert changed[:8].mean() < 0.05


def test_a_blurred_object_is_softer_than_a_sharp_one_and_its_neighbour_is_not():
    sharp = SceneSpec((ObjectSpec("strawberry", place="left"), ObjectSpec("orange", place="right")), "grey")
    soft = SceneSpec((ObjectSpec("strawberry", place="left", blurred=True), sharp.objects[1]), "grey")

    def detail(spec):
        picture = np.asarray(render(SEED, spec).image.convert("L")).astype(float)
        edges = np.abs(np.diff(picture, axis=1))
        return edges[:, :31].max(), edges[:, 33:]

    assert detail(soft)[0] < 0.6 * detail(sharp)[0]
    assert np.array_equal(detail(soft)[1], detail(sharp)[1])


def test_the_mix():
    rng = random.Random(7)
    specs = [sample_spec(rng) for _ in range(8000)]
    counts = Counter(len(spec.objects) for spec in specs)
    assert [round(counts[k] / len(specs), 2) for k in range(3)] == pytest.approx([0.10, 0.45, 0.45], abs=0.02)
    blurred = [spec.look == "blurry" or any(o.blurred for o in spec.objects) for spec in specs]
    assert np.mean(blurred) == pytest.approx(0.20, abs=0.02)
    assert np.mean([spec.look == "sketch" for spec in specs]) == pytest.approx(0.10, abs=0.015)
    named = Counter(name for spec in specs for name in spec.names)
    assert min(named.values()) > 0.8 * max(named.values())


def test_a_spec_of_some_objects_holds_no_others():
    rng = random.Random(1)
    assert {name for _ in range(200) for name in sample_spec(rng, ("cup", "book")).names} == {"cup", "book"}
    assert {name for _ in range(50) for name in sample_spec(rng, ("cup",)).names} == {"cup"}


def test_seed_ranges_are_disjoint():
    for one, two in combinations(SEEDS.values(), 2):
        assert not range(max(one.start, two.start), min(one.stop, two.stop))


def test_an_unknown_name_is_told_with_those_that_exist():
    with pytest.raises(InputError, match=r"no object called 'kiwi'.*banana, apple"):
        check_name("object", "kiwi", OBJECTS)


def test_public_names_are_there_and_importing_them_is_light():
    assert {name for name in orchard.__all__ if not hasattr(orchard, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'load_dog'"):
        _ = orchard.load_dog
    program = "import sys; from dsas_diffusion import orchard; orchard.render; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
