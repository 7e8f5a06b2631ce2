"""Files are written whole or not at all."""

import json
import os

import pytest

from isoloss._files import write_file, write_json


def test_writes_text_bytes_and_missing_folders(tmp_path):
    path = write_file(tmp_path / "a" / "b.txt", "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert write_file(path, b"\x00").read_bytes() == b"\x00"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = write_file(tmp_path / "a.txt", "old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error):
        write_file(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "usual").touch()
    ours = write_file(tmp_path / "ours", "")
    assert ours.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_json_refuses_what_json_cannot_say(tmp_path):
    assert json.loads(write_json(tmp_path / "a.json", {"a": [1, None]}).read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()
