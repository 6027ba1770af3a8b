"""Pages where people log in: who is turned away, what each role sees, what is refused when asked for anyway."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import reads_user
from app.security import guard
from datasets.store import Store, open_store
from quantbot.errors import RefusedError, TooLargeError
from sweeps import audit

ENTRY = Path(__file__).parents[2] / "app" / "streamlit_app.py"
SECRET = "correct-horse-battery-staple"
SETTINGS = """
[login]
mode = "proxy"
[roles.operator]
users = ["ada"]
[roles.researcher]
users = ["rob"]
[roles.viewer]
users = ["vic"]
"""
SPEC = """
version = 1
[run]
name = "{name}"
[data]
dataset = "{dataset}"
assets = ["AAA"]
[strategy]
name = "{strategy}"
[parameters]
fast = {{ values = [3, 4] }}
"""


class Somebody:
    """Who sits at the browser; may change under a page that is open."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def is_(self, name: str, secret: str = SECRET) -> None:
        self.headers = {"X-QuantBot-User": name, "X-QuantBot-Proxy-Secret": secret}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A store of four small runs, in place of that of every kind of run: who may what does not hang on their kind."""
    place = importlib.util.spec_from_file_location("pages_conftest", Path(__file__).with_name("conftest.py"))
    assert place is not None
    assert place.loader is not None
    made: Any = importlib.util.module_from_spec(place)
    place.loader.exec_module(made)
    url = str(tmp_path_factory.mktemp("login") / "store")
    made.add_dataset(url)
    keep = {"three": None, "one": None, "begun": 0, "partial": 1}
    return url, {
        name: made.add_run(
            url,
            made.HEAD.format(name=name, data='assets = ["AAA"]', strategy="sma_cross")
            + f"[parameters]\nfast = {{ start = 3, stop = 14, step = 1 }}\nslow = {20 + number}",
            keep=blocks,
        )
        for number, (name, blocks) in enumerate(keep.items())
    }


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Somebody:
    file = tmp_path / "security.toml"
    file.write_text(SETTINGS)
    monkeypatch.setenv("QUANTBOT_SECURITY", str(file))
    monkeypatch.setenv("QUANTBOT_PROXY_SECRET", SECRET)
    found = Somebody()
    monkeypatch.setattr(reads_user, "headers", lambda: found.headers)
    guard._STRANGERS.clear()
    return found


@pytest.fixture
def root(stored: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of all pages' tests; its audit log is cut to what the test itself does."""
    monkeypatch.setenv("QUANTBOT_STORE", stored[0])
    store = open_store(stored[0])
    for key in store.list("audit/"):
        store.delete(key)
    audit._TAILS.clear()
    return store


def launch(page: str = "runs", **params: str) -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    for name, value in params.items():
        app.query_params[name] = value
    app.switch_page(f"views/{page}.py").run()
    assert not app.exception, app.exception[0].message
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def log(root: Store) -> list[tuple[str, str, str]]:
    return [(entry.user, entry.action, entry.outcome) for entry in audit.entries(root)]


@pytest.mark.parametrize(
    ("name", "secret", "said"),
    [("ada", "", "did not come through the proxy"), ("ada", "x" * 28, "did not come"), ("eve", SECRET, "no role")],
)
def test_stranger__sees_no_page_and_is_in_the_log(
    somebody: Somebody, root: Store, stored: tuple[str, dict[str, str]], name: str, secret: str, said: str
) -> None:
    somebody.is_(name, secret)
    app = launch("runs")
    text = words(app)
    assert said in text
    assert "three" not in text
    assert not any(identity[:12] in text for identity in stored[1].values())
    assert log(root) == [("unknown", "log in", "refused")]
    assert SECRET not in text


def test_settings__that_broke_let_nobody_in_and_show_a_number_only(
    somebody: Somebody, root: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "security.toml").write_text('[login]\nmode = "proxy"\nhunter2 = "hunter2hunter2"')
    somebody.is_("ada")
    app = launch("runs")
    text = words(app)
    assert "Nobody can be let in now" in text
    assert "hunter2" not in text
    assert str(tmp_path) not in text
    number = text.split("error ")[-1].strip().rstrip(".")
    assert number in caplog.text
    assert "hunter2hunter2" not in caplog.text


def test_viewer__sees_runs_and_no_button_that_acts(
    somebody: Somebody, root: Store, stored: tuple[str, dict[str, str]]
) -> None:
    somebody.is_("vic")
    app = launch("runs", run=stored[1]["three"])
    assert "vic, viewer" in words(app)
    assert "runs in" in words(app)
    acting = ("go-", "stop-", "pause-", "yes-")
    assert not [button.key for button in app.button if str(button.key).startswith(acting)]
    assert next(button for button in app.button if button.key == "details.report").disabled
    assert log(root) == [("vic", "log in", "allowed")]


def test_viewer__cannot_start_a_sweep_nor_hand_in_files(
    somebody: Somebody, root: Store, stored: tuple[str, dict[str, str]]
) -> None:
    somebody.is_("vic")
    app = launch("new", **{"from": stored[1]["one"]})
    assert next(button for button in app.button if button.key == "n.start").label == "Open it"
    app.text_area(key="n.toml").input(SPEC.format(name="x", dataset="test/pair", strategy="ema_cross")).run()
    start = next(button for button in app.button if button.key == "n.start")
    assert (start.label, start.disabled) == ("Start sweep", True)


def test_role__that_was_taken_away_counts_at_the_next_click(
    somebody: Somebody, root: Store, stored: tuple[str, dict[str, str]]
) -> None:
    somebody.is_("ada")
    app = launch("runs")
    before = set(root.list("queue/")) | set(root.list(f"runs/{stored[1]['begun']}/"))
    button = next(button for button in app.button if str(button.key).startswith("go-"))
    somebody.is_("vic")  # as if the websocket's messages were sent again by somebody else
    button.click().run()
    assert not app.exception
    assert "Not allowed" in words(app)
    assert log(root) == [("ada", "log in", "allowed"), ("vic", "resume", "refused"), ("vic", "log in", "allowed")]
    assert set(root.list("queue/")) | set(root.list(f"runs/{stored[1]['begun']}/")) == before


def test_researcher__may_not_stop_the_run_of_somebody_else(
    somebody: Somebody, root: Store, stored: tuple[str, dict[str, str]]
) -> None:
    from app import reads

    somebody.is_("rob")
    with pytest.raises(RefusedError, match="their own only"):
        reads.stop(stored[1]["partial"])
    assert log(root) == [("rob", "cancel", "refused")]
    assert not root.exists(f"runs/{stored[1]['partial']}/cancel.json")


def test_submission__carries_its_user_and_is_in_the_log(
    somebody: Somebody, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import reads
    from sweeps.runstore import RunStore

    monkeypatch.setattr(reads, "drive", lambda *_, **__: None)
    somebody.is_("rob")
    plan = reads.plan(SPEC.format(name="of-rob", dataset="test/pair", strategy="ema_cross"))
    identity = reads.submit(plan, workers=1)
    try:
        assert RunStore(root, identity).request()["user"] == "rob"
        entry = audit.entries(root)[-1]
        assert (entry.user, entry.role, entry.action, entry.subject) == ("rob", "researcher", "submit", identity)
        assert entry.details == {"name": "of-rob", "trials": "2"}
        reads.stop(identity)  # his own
        assert log(root)[-1] == ("rob", "cancel", "allowed")
    finally:
        for key in [*root.list(f"runs/{identity}/"), *root.list("queue/")]:
            root.delete(key)


@pytest.mark.parametrize(
    ("dataset", "strategy"),
    [("http://127.0.0.1:9/datasets/x", "sma_cross"), ("test/pair", "{folder}/evil.py:evil"), ("/etc", "sma_cross")],
)
def test_spec__from_somebody_who_is_logged_in_reaches_no_other_place(
    somebody: Somebody, root: Store, tmp_path: Path, dataset: str, strategy: str
) -> None:
    from app import reads

    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    somebody.is_("ada")
    text = SPEC.format(name="x", dataset=dataset, strategy=strategy.format(folder=tmp_path))
    with pytest.raises(RefusedError):
        reads.plan(text)
    with pytest.raises(RefusedError):
        reads.strategy(f"{tmp_path}/evil.py:evil")
    assert not (tmp_path / "ran").exists()


def test_tables__of_a_spec_are_no_way_to_read_files(somebody: Somebody, root: Store) -> None:
    from app import reads
    from quantbot.errors import SpecError

    somebody.is_("rob")
    text = (
        'version = 1\n[run]\nengine = "portfolio"\n[data]\ndataset = "test/pair"\n[constraints]\ngroups = "/etc/passwd"'
    )
    with pytest.raises(SpecError, match="write the rows out"):
        reads.plan(text)


def test_new__offers_no_code_of_ones_own(somebody: Somebody, root: Store) -> None:
    somebody.is_("rob")
    app = launch("new")
    options = next(box for box in app.selectbox if box.key == "n.strategy").options
    assert "sma_cross" in options
    assert not [option for option in options if "own" in option]


def test_export__is_asked_again_when_the_file_is_taken(somebody: Somebody, root: Store, tmp_path: Path) -> None:
    somebody.is_("rob")
    write = reads_user.exporting(lambda: b"rows", "ab" * 32, "rows.csv")
    assert write() == b"rows"
    assert log(root) == [("rob", "export", "allowed")]
    (tmp_path / "security.toml").write_text(SETTINGS.replace('"rob"', '"somebody"').replace('"vic"', '"vic", "rob"'))
    with pytest.raises(RefusedError):
        write()
    assert log(root)[-1] == ("rob", "export", "refused")


def test_upload__is_bounded_and_in_the_log_once(somebody: Somebody, root: Store) -> None:
    from app import reads_risk

    somebody.is_("rob")
    table = b"date,A,B\n2024-01-02,0.01,-0.02\n2024-01-03,0,0.005\n2024-01-04,0.01,0.0\n"
    for _ in range(2):
        reads_risk.of_files(("../../x.csv", table), "returns", None)
    with pytest.raises(TooLargeError, match="50 MB"):
        reads_risk.of_files(("large.csv", bytes(51 * 2**20)), "returns", None)
    found = [(entry.action, entry.subject, entry.outcome) for entry in audit.entries(root)]
    assert found == [
        ("upload", "../../x.csv", "allowed"),
        ("upload", "large.csv", "allowed"),
        ("upload", "large.csv", "failed"),
    ]
    somebody.is_("vic")
    with pytest.raises(RefusedError):
        reads_risk.of_files(("../../x.csv", table), "returns", None)


def test_audit__is_shown_to_operators_and_refused_to_others(somebody: Somebody, root: Store) -> None:
    somebody.is_("rob")
    assert "Not allowed" in words(launch("audit"))
    somebody.is_("ada")
    app = launch("audit")
    table = app.dataframe[0].value
    assert table["did"].tolist()[:2] == ["log in", "read audit"]
    app.button(key="audit.verify").click().run()
    assert "whole" in app.success[0].value


def test_without_login__whoever_is_here_may_do_everything(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANTBOT_SECURITY", raising=False)
    app = launch("runs")
    assert [button for button in app.button if str(button.key).startswith("go-")]
    assert reads_user.policy() is None
    assert log(root) == []
