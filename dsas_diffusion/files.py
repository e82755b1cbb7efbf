"""Files whole or not at all: atomic writes, atomic folders, and reads that explain themselves."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Collection, Generator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .errors import InputError

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAY_NOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SUCH_PLACE = (errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a file so that it is there with all its content or not at all.

    The bytes go to a hidden sibling first, which then takes the file's place; an older file survives any failure.
    Missing parent folders are made. A device or pipe (`/dev/stdout`) is written to directly.

    Args:
        path: Where the file goes. An existing regular file is replaced.
        data: The content; text is stored as UTF-8, line ends as they are.

    Returns:
        The path, as a `Path`.

    Raises:
        InputError: If the disk is full or the path can't be written.
    """
    path = Path(path)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with writing(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(raw)
            return path
        real = Path(os.path.realpath(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(real)
        try:
            with temporary.open("xb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(real)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool | Collection[str] = False) -> Generator[Path]:
    """Fill a folder that appears under its name only once everything in it is written.

    Yields a temporary sibling folder to write into. At success it takes the final name; on any exception, Ctrl-C
    included, it is removed and whatever stood there before is untouched. All that can be refused is refused before the
    body runs, so that no long computation ends in "the folder exists".

    Args:
        path: The folder to make. Missing parents are made.
        overwrite: What may stand there already. `False`: nothing (an absent or empty folder). A collection of names or
            patterns (`("report.json", "images", "*.png")`): a folder whose every entry matches one of them, as an
            earlier run left it. `True`: any folder, except the home folder, the working folder and those above them.

    Yields:
        The temporary folder, empty and writable.

    Raises:
        InputError: If the folder is in the way, the disk is full or the place can't be written.
    """
    path = Path(path)
    real = Path(os.path.realpath(path))
    _refuse_if_in_the_way(path, real, overwrite)
    with writing(path):
        real.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(real)
        temporary.mkdir()
    try:
        with _writing_inside(temporary, path):
            yield temporary
        with writing(path):
            _take_place(temporary, real, replace=overwrite is not False)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def writing(path: str | os.PathLike[str]) -> Generator[None]:
    """Turn a full disk or an unwritable place, met while writing `path`, into an `InputError`.

    Args:
        path: What the message names.

    Raises:
        InputError: In place of an `OSError` whose cause lies with the path or its disk; other errors pass through.
    """
    try:
        yield
    except OSError as error:
        raise _explained(path, error) from error


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a UTF-8 text file that a user handed in.

    Args:
        path: The file. A byte order mark at its start is dropped.

    Returns:
        The file's text.

    Raises:
        InputError: If the file is missing, unreadable, a folder, or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise InputError(
            f"Can't read {path}: {error.strerror or error}. Check the path and its permissions."
        ) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file that a user handed in.

    Args:
        path: The file, UTF-8.

    Returns:
        What the file holds.

    Raises:
        InputError: If the file can't be read or is not JSON; the message names the line and column.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Mend that line, or write the file again if it was cut off."
        ) from error


def _sibling(path: Path) -> Path:
    # `secrets`, not `random`: the global random state belongs to the user.
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")


def _refuse_if_in_the_way(path: Path, real: Path, overwrite: bool | Collection[str]) -> None:
    if not real.exists():
        return
    if not real.is_dir():
        raise InputError(f"{path} is a file, but a folder is to be written there. Remove it or choose another path.")
    with writing(path):
        entries = sorted(entry.name for entry in real.iterdir())
    if not entries:
        return
    if overwrite is False:
        raise InputError(
            f"The folder {path} exists and is not empty. Choose another path, remove it, or allow overwriting it."
        )
    working, home = Path.cwd().resolve(), Path.home().resolve()
    if real in (working, home, *working.parents, *home.parents):
        raise InputError(
            f"{path} is your home folder, the working folder or a folder above them, and writing there would replace "
            "all it holds. Name a new folder inside it."
        )
    if overwrite is not True:
        foreign = [name for name in entries if not any(fnmatch(name, pattern) for pattern in overwrite)]
        if foreign:
            raise InputError(
                f"The folder {path} holds {foreign[0]!r}, which this command did not write, so it is not overwritten. "
                "Choose another path, or move that file away."
            )


def _take_place(temporary: Path, real: Path, replace: bool) -> None:
    # Renaming onto an absent or empty folder is allowed; onto one that was filled meanwhile it fails, as it should.
    if not (replace and real.is_dir() and any(real.iterdir())):
        temporary.replace(real)
        return
    old = _sibling(real)
    real.replace(old)
    try:
        temporary.replace(real)
    except BaseException:
        old.replace(real)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _writing_inside(temporary: Path, path: Path) -> Generator[None]:
    # The body may raise an OSError of its own, such as a missing input image; only what concerns our folder is
    # explained.
    try:
        yield
    except OSError as error:
        concerns_us = error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(temporary)
        if error.errno in _DISK_IS_FULL or (concerns_us and error.errno in _MAY_NOT_WRITE):
            raise _explained(path, error) from error
        raise


def _explained(path: str | os.PathLike[str], error: OSError) -> Exception:
    if error.errno in _DISK_IS_FULL:
        return InputError(f"Can't write {path}: the disk is full. Free some space or choose a path on another disk.")
    if error.errno in _MAY_NOT_WRITE:
        return InputError(
            f"Can't write {path}: {error.strerror}. Choose a path in a folder that you may write to, or change its "
            "permissions."
        )
    if error.errno in _NO_SUCH_PLACE:
        at = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        return InputError(f"Can't write {path}: {error.strerror}{at}. Choose a free path whose parents are folders.")
    return error
