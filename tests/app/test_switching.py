from __future__ import annotations

from app.settings import Settings
from tests.app.conftest import make_audit, press, write_source


def test_undo_does_not_reach_into_another_audit(page, root, audit, mapping):
    other = make_audit(root / "audits" / "zoo", write_source(root / "zoo", pairs=60), mapping)
    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "keep", row)
    assert not test.button(key="undo_button").disabled
    test.switch_page("views/audits.py").run()
    next(button for button in test.button if button.label == "Open").click().run()
    test.switch_page("views/pairs.py").run()
    assert test.button(key="undo_button").disabled
    assert set(other.pairs()["decision"].to_pylist()) == {""}
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["keep"]


def test_an_audit_of_another_root_is_named_so_that_a_link_finds_it(root, tmp_path, monkeypatch):
    second = tmp_path.resolve() / "second"
    monkeypatch.setenv("CFBD_APP_ROOTS", f"{root.resolve()}:{second}")
    settings = Settings.from_environment()
    for place in (root.resolve() / "audits" / "toy", second / "audits" / "toy"):
        assert settings.inside(settings.name(place)) == place
