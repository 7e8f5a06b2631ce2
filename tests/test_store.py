"""A finished run is read if and only if it is the same run."""

from isoloss._store import Store


def failing():
    raise AssertionError("a finished run was computed again")


def test_finished_run_is_read(tmp_path):
    assert Store(tmp_path / "runs", {"data": 1}).get({"rate": 0.1}, lambda: {"loss": [1.5, None]})[
        "loss"
    ] == [1.5, None]
    again = Store(tmp_path / "runs", {"data": 1})
    assert again.get({"rate": 0.1}, failing) == {"loss": [1.5, None]} and len(again) == 1


def test_other_key_or_context_is_another_run(tmp_path):
    Store(tmp_path, {"data": 1}).get({"rate": 0.1}, lambda: {"n": 1})
    assert Store(tmp_path, {"data": 1}).get({"rate": 0.2}, lambda: {"n": 2}) == {"n": 2}
    assert Store(tmp_path, {"data": 2}).get({"rate": 0.1}, lambda: {"n": 3}) == {"n": 3}


def test_damaged_file_is_computed_again(tmp_path):
    store = Store(tmp_path, {})
    store.get({"rate": 0.1}, lambda: {"n": 1})
    (path,) = tmp_path.glob("*.json")
    for damage in ("", '{"run": ', "[]", '{"key": 1}'):
        path.write_text(damage)
        assert store.get({"rate": 0.1}, lambda: {"n": 2}) == {"n": 2}
        assert store.get({"rate": 0.1}, failing) == {"n": 2}


def test_clear_forgets(tmp_path):
    store = Store(tmp_path, {})
    store.get({"rate": 0.1}, lambda: {"n": 1})
    store.clear()
    assert len(store) == 0 and store.get({"rate": 0.1}, lambda: {"n": 2}) == {"n": 2}


def test_failed_run_is_not_kept(tmp_path):
    store = Store(tmp_path, {})
    try:
        store.get({}, failing)
    except AssertionError:
        pass
    assert len(store) == 0
