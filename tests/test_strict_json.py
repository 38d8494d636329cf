import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.readers import strict

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    # So small that values, keys, numbers and characters of several bytes lie across its border.
    monkeypatch.setattr(strict, "WINDOW", 7)


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _walked(path: Path) -> Any:
    """Return what the file holds, taken in the smallest steps."""
    with strict.opened(path) as document:
        value = _taken(document)
        document.end()
        return value


def _taken(document: strict.Document, levels: int = 3) -> Any:
    first = document.peek()
    if first == "{" and levels:
        return {key: _taken(document, levels - 1) for key in document.members()}
    return list(document.items()) if first == "[" else document.value()


@given(value=json_values, space=st.sampled_from([None, 1, "\t"]), ascii_only=st.booleans(), data=st.data())
def test_every_document_is_read_as_python_reads_it(
    tmp_path_factory: pytest.TempPathFactory, value: Any, space: Any, data: st.DataObject, *, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=space, ensure_ascii=ascii_only)
    path = _file(tmp_path_factory.mktemp("json"), b"\xef\xbb\xbf" * data.draw(st.integers(0, 1)) + text.encode())
    assert strict.load(path) == _walked(path) == value


@given(value=json_values, cut=st.integers(0, 10**6), put=st.sampled_from(["", "}", "]", '"', ",", "\\", "NaN"]))
def test_what_python_refuses_is_an_error_where_python_sees_it(
    tmp_path_factory: pytest.TempPathFactory, value: Any, cut: int, put: str
) -> None:
    text = json.dumps(value, indent=1)
    at = cut % (len(text) + 1)
    text = text[:at] + put + text[at + 1 :]
    path = _file(tmp_path_factory.mktemp("json"), text)
    try:
        expected = json.loads(text)
    except json.JSONDecodeError as error:
        for read in (strict.load, _walked):
            with pytest.raises(OdbuildError) as caught:
                read(path)
            place = f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}, near"
            assert (
                place in str(caught.value)
                or "stands twice" in str(caught.value)
                or "is no number" in str(caught.value)
            )
        return
    try:
        assert strict.load(path) == _walked(path) == expected
    except OdbuildError as error:
        assert "stands twice" in str(error) or "is no number" in str(error)  # noqa: PT017 - either end is fine


@pytest.mark.parametrize("read", [strict.load, _walked])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', 'the key "a" stands twice in one object at line 1, column 18'),
        ('[{"a": 1}, {"b": {"c": 1,\n "c": 2}}]', 'the key "c" stands twice in one object at line 2, column 2'),
        ('["NaN",\n NaN]', "NaN is no number at line 2, column 2"),
        ('{"abcdefgh": [1, 2, -Infinity]}', "-Infinity is no number at line 1, column 21"),
        ("[1, 1e400]", "1e400 is no number at line 1, column 5"),
        ("[" + "9" * 5000 + "]", "999 is no number at line 1, column 2"),
        ("[1, 2] 3", "Extra data at line 1, column 8"),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a": ' + '{"a": ' * 100_000, "nested too deeply"),
        ('["' + "a" * 99, "Unterminated string"),
        (b'["abcdefghij\xe9"]', "not UTF-8: byte 12 is 0xe9"),
        (b"\xef\xbb\xbf[\xff]", "not UTF-8: byte 4 is 0xff"),
        (b'["abcdef\xe7\x8c', "not UTF-8: byte 8 is 0xe7"),
    ],
)
def test_hostile_documents_are_errors_at_their_place(
    tmp_path: Path, read: Any, text: str | bytes, message: str
) -> None:
    with pytest.raises(OdbuildError, match=message) as caught:
        read(_file(tmp_path, text))
    assert len(str(caught.value)) < 600


def test_a_value_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict, "LARGEST", 1000)
    text = json.dumps({"a": ["b" * 300, "c" * 300, "d" * 300, "e" * 300], "f": "g" * 5000})
    with pytest.raises(OdbuildError, match=r"value of more than 1,000 characters at line 1, column 1\d\d\d"):
        _walked(_file(tmp_path, text))
    with pytest.raises(OdbuildError, match=r"value of more than 1,000 characters at line 1, column 1,"):
        strict.load(_file(tmp_path, text))


def test_skipping_keeps_the_place(tmp_path: Path) -> None:
    skipped = {"a": {"b": [1, {"c": 2}], "d": {}}, "e": [[], [1]], "f": "text", "g": 12}
    with strict.opened(_file(tmp_path, json.dumps([1]) + json.dumps(skipped) + " true")) as document:
        assert list(document.items()) == [1]
        document.skip()
        assert document.value() is True
        document.end()


def test_a_gigabyte_is_walked_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict, "WINDOW", 1 << 20)
    path = tmp_path / "large.json"
    size = 1 << 30
    with path.open("wb") as file:
        file.write(b"[")
        # Nothing but zeros takes no room on the disk; each is an error in JSON, and the file is left at the first.
        file.truncate(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OdbuildError, match="Expecting value at line 1, column 2"):
        _walked(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(OdbuildError, match=f"cannot be read: {message}"):
            strict.load(path)
        with pytest.raises(OSError, match=message):
            strict.ends(path)
    assert strict.ends(_file(tmp_path, "[1]")) == "[1]\n"
    with (tmp_path / "a.json").open("wb") as file:
        file.write(b"head")
        file.seek(1 << 20)
        file.write(b"tail")
    found = strict.ends(tmp_path / "a.json")
    assert found.startswith("head")
    assert found.endswith("tail")
    assert len(found) == 2 * strict.PEEKED + 1
