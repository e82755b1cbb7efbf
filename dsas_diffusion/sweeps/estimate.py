"""What a sweep will take: pictures that are still to be drawn, hours and disk, told before it starts."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .rows import Cell
from .unit import Arena

#: Bytes that a picture's row takes, at most.
ROW: int = 400
#: The share of the free disk that a sweep may plan to fill.
SHARE: float = 0.9


@dataclass(frozen=True)
class Estimate:
    """What is left of a sweep.

    Args:
        twins: Unsteered pictures to be drawn.
        pictures: Pictures to be drawn by techniques, at most: a search for strengths may end early.
        fits: How often a technique is still to be learned.
        seconds: Of drawing them all, one after the other; without the fits, whose time nobody knows before.
        megabytes: On disk.
    """

    twins: int
    pictures: int
    fits: int
    seconds: float
    megabytes: float

    def told(self, processes: int) -> str:
        """Say it in one line.

        Args:
            processes: How many share the work.
        """
        hours = self.seconds / processes / 3600
        time = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
        among = "" if processes == 1 else f" in {processes} processes"
        return (
            f"At most {self.pictures:,} pictures and {self.twins:,} unsteered twins are to be drawn: about {time}"
            f"{among}, beside {self.fits} fits; {self.megabytes:,.0f} MB on disk."
        )


def estimate(arenas: Sequence[Arena], done: dict[Cell, int], seconds: float, bytes_each: float) -> Estimate:
    """Count what is left.

    Args:
        arenas: The tasks.
        done: Cell → how many of its pictures there are.
        seconds: Per picture.
        bytes_each: Of one picture on disk.
    """
    twins = pictures = fits = kept = 0
    for arena in arenas:
        plan = arena.plan
        twins += sum(not path.is_file() for batch in arena.twin_batches() for path in arena.twin_paths(*batch))
        sizes = {split: sum(map(len, kinds.values())) for split, kinds in arena.prompts.items()}
        search = len(plan.grid.search()) * sizes["tuning"]
        for task, technique in plan.units():
            if task != arena.name:
                continue
            fixed = plan.fixed(technique)
            count = len(plan.grid.around if fixed is None else fixed)
            whole = (search if fixed is None else 0) + plan.seeds * count * sum(sizes.values())
            found = sum(number for cell, number in done.items() if (cell.task, cell.technique) == (task, technique))
            pictures += max(0, whole - found)
            places = [arena.folder / "learned" / task / technique / f"{seed}" for seed in range(plan.seeds)]
            fits += sum(not place.is_dir() for place in places)
            kept += count * sum(min(plan.pictures.kept, len(prompts)) for prompts in arena.prompts["heldout"].values())
    size = (twins + kept) * bytes_each + pictures * ROW
    return Estimate(twins, pictures, fits, seconds * (twins + pictures), size / 1e6)


def check_disk(folder: Path, megabytes: float) -> None:
    """Refuse to begin what the disk can't hold.

    Args:
        folder: The sweep's.
        megabytes: What it will take.

    Raises:
        InputError: If there is not so much room.
    """
    free = shutil.disk_usage(folder).free / 1e6
    if megabytes > SHARE * free:
        raise InputError(
            f"The sweep needs about {megabytes:,.0f} MB, but the disk of {folder} has {free:,.0f} MB left. Free some "
            "space, name a folder on another disk with --out, or draw fewer pictures (pictures, seeds, grid)."
        )
