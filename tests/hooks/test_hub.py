"""The way to the hub and back, with the hub's client replaced at its boundary."""

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError
from PIL import Image
from tiny import GENERATION, tiny_concept, tiny_pipeline

from dsas_diffusion import Card, Steerer, load_steering
from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.storage import FILES

ADDRESS = "https://huggingface.co/me/zzz-off/commit/1"


@pytest.fixture(scope="module")
def steerer():
    return fit(tiny_pipeline(), tiny_concept(), tau=0.5, strength=2.0, generation=GENERATION, progress=False)


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the hub, and the files that it got."""
    asked = SimpleNamespace(calls=[], files={})

    class Api:
        def __init__(self, token=None):
            asked.calls.append(("token", token))

        def create_repo(self, repo_id, **settings):
            asked.calls.append(("create_repo", repo_id, settings))
            return SimpleNamespace(repo_id=f"me/{repo_id.rpartition('/')[2]}")

        def upload_folder(self, *, folder_path, **settings):
            asked.files.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
            asked.calls.append(("upload_folder", settings))
            return ADDRESS

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return asked


def test_a_push_uploads_every_file_with_its_card(steerer, hub):
    steerer.card = Card({"removed": 0.9}, picture=Image.new("RGB", (2, 2)))
    try:
        assert steerer.push_to_hub("zzz-off", private=True, token="secret") == ADDRESS
    finally:
        steerer.card = Card()
    assert hub.calls == [
        ("token", "secret"),
        ("create_repo", "zzz-off", {"private": True, "exist_ok": True}),
        (
            "upload_folder",
            {"repo_id": "me/zzz-off", "commit_message": "Upload steerer", "delete_patterns": list(FILES)},
        ),
    ]
    assert sorted(hub.files) == sorted(FILES)
    readme = hub.files["README.md"].decode()
    assert 'dsas.load_steering(pipe, "me/zzz-off")' in readme
    assert "| removed | 0.9 |" in readme
    assert not any(b"secret" in content for content in hub.files.values())


def test_what_was_pushed_is_loaded_again(steerer, hub, tmp_path, monkeypatch):
    steerer.push_to_hub("me/zzz-off")
    asked = []

    def snapshot_download(repo_id, **settings):
        asked.append((repo_id, settings))
        for name, content in hub.files.items():
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    loaded = Steerer.from_pretrained("me/zzz-off", revision="v1", token="secret")
    assert loaded.diagnose() == steerer.diagnose()
    load_steering(tiny_pipeline(), "me/zzz-off", revision="v2", token="other")
    wanted = {"allow_patterns": list(FILES)}
    assert asked == [
        ("me/zzz-off", {"revision": "v1", "token": "secret", **wanted}),
        ("me/zzz-off", {"revision": "v2", "token": "other", **wanted}),
    ]


def refused(kind, *said):
    """The client's own error, without the response that its constructor wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, *said)
    return error


Connecting = type("ConnectError", (HfHubHTTPError.__bases__[0],), {})  # the HTTP library's own, below the client's

ERRORS = [
    refused(HfHubHTTPError, "403 Forbidden.\nRequest id 7"),
    refused(Connecting, "Name or service not known"),
    ConnectionError("offline mode is enabled"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["create_repo", "upload_folder"])
def test_a_refused_push_is_one_paragraph(steerer, hub, monkeypatch, error, step):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, step, refuse)
    with pytest.raises(InputError, match=r"can't be uploaded to 'me/zzz-off' \(.*token may write") as told:
        steerer.push_to_hub("me/zzz-off")
    assert "\n" not in str(told.value)
    assert str(error).partition("\n")[0].rstrip(".") in str(told.value)


@pytest.mark.parametrize(
    "error", [*ERRORS, refused(RevisionNotFoundError, "404"), LocalEntryNotFoundError("no connection")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_refused_download_is_one_paragraph(monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"under that id at revision 'v9' from the hub.*need a token") as told:
        Steerer.from_pretrained("me/zzz-off", revision="v9")
    assert "\n" not in str(told.value)


def test_a_place_that_can_be_no_id_is_explained(tmp_path):
    with pytest.raises(InputError, match="no steerer could be fetched"):
        Steerer.from_pretrained(tmp_path / "nothing" / "here at all")


def test_a_push_without_a_network_is_one_paragraph(steerer):
    with pytest.raises(InputError, match="can't be uploaded to 'me/zzz-off'") as told:
        steerer.push_to_hub("me/zzz-off")  # HF_HUB_OFFLINE is set for every test
    assert "\n" not in str(told.value)
