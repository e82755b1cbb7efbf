"""A steerer's way to the Hugging Face hub and back, with errors in one paragraph."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from ..errors import InputError
from .storage import FILES

_UPLOADING: Final = "Check the id, the connection, and that your token may write there (`hf auth login`)."
_DOWNLOADING: Final = "Check the path, or the id, the revision and your connection; private repositories need a token."


def download(repo_id: str, revision: str | None, token: str | None) -> Path:
    """Fetch a steerer's files from the hub.

    Args:
        repo_id: `"user/name"`.
        revision: Branch, tag or commit; `None` for the newest.
        token: Access token; `None` for the stored one.

    Returns:
        The folder that holds them.

    Raises:
        InputError: If it is not there, or can't be reached.
    """
    from huggingface_hub import snapshot_download

    at = f" at revision {revision!r}" if revision else ""
    what = f"There is no folder {repo_id!r}, and no steerer could be fetched under that id{at} from the hub"
    with _explained(what, _DOWNLOADING):
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=list(FILES)))


def upload(repo_id: str, write: Callable[[str, Path], Path], private: bool, token: str | None) -> str:
    """Put a steerer's files on the hub, in place of those of an earlier one.

    Args:
        repo_id: `"user/name"`; made if it does not exist.
        write: Writes the files, given the whole id and a folder to make, and returns the folder.
        private: Make a new repository private.
        token: Access token; `None` for the stored one.

    Returns:
        The address of the commit.

    Raises:
        InputError: If the hub can't be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with TemporaryDirectory() as place, _explained(f"The steerer can't be uploaded to {repo_id!r}", _UPLOADING):
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=write(repo, Path(place) / "steerer"),
            commit_message="Upload steerer",
            delete_patterns=list(FILES),  # such as an earlier one's picture
        )
    return str(commit)


@contextmanager
def _explained(what: str, mend: str) -> Generator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Which HTTP library the client uses depends on its version; its errors derive from the bases of the client's own.
    errors = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, HFValidationError, OSError))
    try:
        yield
    except errors as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise InputError(f"{what} ({told}). {mend}") from error
