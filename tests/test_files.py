"""Files of strangers: whatever is wrong with one is said in one line, before anything in it is used or run."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memenv.archives import (
    FLOATS,
    WHOLE,
    Entry,
    check_arrays,
    check_card,
    load_archive,
    load_array,
    load_card,
    save_archive,
)
from memenv.files import LONGEST, load_json, parse_json, write_whole

ENTRIES = {
    "w": Entry(("rows", "columns")),
    "b": Entry(("columns",)),
    "gates": Entry(("2 columns",), most=10.0),
    "layer*": Entry(("", 3)),
    "count": Entry((), WHOLE, optional=True),
}
CARD = {"format": "test 1", "more": {"seed": 3}}


def arrays(**changes: object) -> dict[str, np.ndarray]:
    whole = {
        "w": np.arange(6.0).reshape(2, 3),
        "b": np.ones(3, np.float32),
        "gates": np.ones(6),
        "layer0": np.ones((1, 3)),
        "layer1": np.asfortranarray(np.arange(12.0).reshape(4, 3)),
    }
    return {name: np.asarray(value) for name, value in (whole | changes).items() if value is not None}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """An .npy file of 48 numbers that says `text` of itself."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + bytes(48)


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_archive(tmp_path / "one.npz", CARD, arrays())
    return tmp_path / "one.npz"


class Runs:
    """An object whose pickle makes a folder when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


# -- whole files -------------------------------------------------------------------------------------------------------


def test_an_archive_comes_back_as_it_was(path: Path) -> None:
    card, found = load_archive(path, "test", ENTRIES)
    assert card == load_card(path, "test") == CARD
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


def test_bytes_in_another_order_become_native(tmp_path: Path) -> None:
    np.savez(tmp_path / "big.npz", **arrays(w=np.arange(6.0).reshape(2, 3).astype(">f8")))
    _, found = load_archive(tmp_path / "big.npz", "test", ENTRIES)
    assert found["w"].dtype.isnative
    np.testing.assert_array_equal(found["w"], arrays()["w"])


def test_a_card_may_be_bytes_text_or_absent(tmp_path: Path) -> None:
    for name, value in (("card", np.array('{"a": 1}')), ("head", np.frombuffer(b'{"a": 1}', np.uint8))):
        np.savez(tmp_path / "one.npz", **arrays(), **{name: value})
        assert load_card(tmp_path / "one.npz", "test") == {"a": 1}
    np.savez(tmp_path / "one.npz", **arrays())
    assert load_archive(tmp_path / "one.npz", "test", ENTRIES)[0] == {}


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep" / "one", "first")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "deep" / "one", "\ud800")
    assert (tmp_path / "deep" / "one").read_text() == "first"
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["one"]


# -- damaged ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": None}, "it lacks w"),
        ({"extra": 1.0}, "it has 'extra', known are w, b, gates, layer*, count"),
        ({"layer1": None, "layer2": np.ones((1, 3))}, "it lacks layer1"),
        ({"layer01": np.ones((1, 3))}, "it has 'layer01'"),
        ({"b": np.ones(4)}, "b has the shape (4,), (3) is needed"),
        ({"gates": np.ones(5)}, "gates has the shape (5,), (6) is needed"),
        ({"w": np.ones(6)}, "w has the shape (6,), (rows, 3) is needed"),
        ({"layer0": np.ones((0, 3))}, "layer0 has the shape (0, 3), (any, 3) is needed"),
        ({"w": np.ones((2, 3)) * 1j}, "w is of type complex128, f2 or f4 or f8 is needed"),
        ({"w": np.ones((2, 3), int)}, "w is of type int64"),
        ({"w": np.full((2, 3), "a")}, "w is of type <U1"),
        ({"count": 1.0}, "count is of type float64"),
        ({"w": np.zeros((2, 3), [("a", "f8")])}, "w is of type"),
        ({"w": np.full((2, 3), np.nan)}, "6 of 6 numbers in w are NaN or beyond"),
        ({"b": np.array([1, np.inf, 1], np.float32)}, "1 of 3 numbers in b are NaN or beyond"),
        ({"gates": np.full(6, -11.0)}, "6 of 6 numbers in gates are NaN or beyond 10"),
    ],
)
def test_arrays_that_are_others_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **arrays(**changes))
    with pytest.raises(ValueError) as error:
        load_archive(tmp_path / "one.npz", "test", ENTRIES)
    assert str(error.value).startswith(f"{tmp_path / 'one.npz'} is no test: ") and message in str(error.value)
    with pytest.raises(ValueError) as error:  # the same of arrays that came another way
        check_arrays(arrays(**changes), ENTRIES)
    assert message in str(error.value)


def test_sizes_that_are_known_beforehand_count(path: Path) -> None:
    load_archive(path, "test", ENTRIES, {"rows": 2})
    with pytest.raises(ValueError, match=r"w has the shape \(2, 3\), \(5, 3\) is needed"):
        load_archive(path, "test", ENTRIES, {"rows": 5})


def test_objects_are_refused_and_not_opened(tmp_path: Path) -> None:
    hostile = np.array([[Runs(tmp_path / "ran")]], object)
    np.savez(tmp_path / "one.npz", **arrays(), extra=hostile)
    np.savez(tmp_path / "two.npz", **arrays(w=hostile))
    np.savez(tmp_path / "three.npz", **arrays(), card=hostile)
    np.save(tmp_path / "four.npy", hostile)
    archive(tmp_path / "five.npz", {"w.npy": pickle.dumps(Runs(tmp_path / "ran"))})
    (tmp_path / "six.npz").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    for name in ("one", "two", "three", "five", "six"):
        with pytest.raises(ValueError, match=f"{name}.npz is no test"):
            load_archive(tmp_path / f"{name}.npz", "test", ENTRIES)
    with pytest.raises(ValueError, match="holds pickled objects, which are not loaded"):
        load_array(tmp_path / "four.npy", "test", Entry(("rows", "columns")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("card", ["[]", "3", '{"a": 1, "a": 2}', '{"a": NaN}', "{", "", "[" * 5000, '{"a": 1e999}'])
def test_a_card_is_an_object_in_strict_json(card: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **arrays(), card=np.array(card))
    with pytest.raises(ValueError, match=r"one\.npz is no test"):
        load_card(tmp_path / "one.npz", "test")


def test_two_cards_or_one_of_another_type_are_refused(tmp_path: Path) -> None:
    text, content = np.array("{}"), np.frombuffer(b"{}", np.uint8)
    for cards in ({"card": text, "head": content}, {"card": np.ones(3)}, {"head": np.array(["{}"])}):
        np.savez(tmp_path / "one.npz", **cards)
        with pytest.raises(ValueError, match=r"one\.npz is no test"):
            load_card(tmp_path / "one.npz", "test")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"one\.npz is no test: it is not an \.npz archive, or a truncated one"):
        load_archive(path, "test", ENTRIES)


def test_a_changed_byte_is_never_taken_for_the_whole(path: Path) -> None:
    """Any byte of the numbers; one of names, dates or attributes may leave the arrays as they are."""
    content, same = path.read_bytes(), []
    wanted = arrays()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            card, found = load_archive(path, "test", ENTRIES)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            same.append(card == CARD and all(np.array_equal(found[name], wanted[name]) for name in wanted))
    assert all(same)


MEMBERS = {f"{name}.npy": npy(array) for name, array in arrays().items()}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"more": npy(np.ones((2, 3)))}, "it has 'more', which is no array as NumPy writes it"),
        ({"w.npy": npy(np.ones((2, 3)))[:-8]}, "40 bytes instead of 48 follow a header"),
        ({"w.npy": npy(np.ones((2, 3))) + b"\0"}, "49 bytes instead of 48 follow a header"),
        ({"w.npy": b"nonsense"}, "magic string"),
        ({"w.npy": b"\x93NUMPY\x03\x00" + b"\xff" * 99}, "not an array in the version 1.0"),
        ({"w.npy": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -3)}\n")}, "the shape (-2, -3)"),
        ({"w.npy": header("{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L)}\n")}, "Python 2"),
        ({"w.npy": header("(" * 5000)}, ""),
        ({"w.npy": header("{'descr': 'f8, (99999,99999)f8', 'fortran_order': 0, 'shape': (1,)}\n")}, ""),
    ],
)  # fmt: skip
def test_members_that_numpy_would_not_write_are_refused(
    members: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as error:
        load_archive(archive(tmp_path / "one.npz", MEMBERS | members), "test", ENTRIES)
    assert "one.npz is no test: " in str(error.value) and message in str(error.value)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "one.npz", "w") as file:
        for _ in range(2):
            file.writestr("w.npy", npy(np.ones((2, 3))))
    with pytest.raises(ValueError, match="it has 'w' twice"):
        load_archive(tmp_path / "one.npz", "test", ENTRIES)


def test_a_message_does_not_hold_the_file(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[26] = 255  # the length of the first name, of which zipfile then quotes 64 kB
    content[27] = 3
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"one\.npz is no test: ") as error:
        load_archive(path, "test", ENTRIES)
    assert len(str(error.value)) < 1500


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no array as NumPy writes it"):
        load_archive(archive(tmp_path / "one.npz", MEMBERS, zipfile.ZIP_LZMA), "test", ENTRIES)


# -- large ones --------------------------------------------------------------------------------------------------------


def test_a_small_file_of_huge_arrays_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    promises = header("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000, 3)}\n")
    bomb = promises + bytes(2**24)
    archive(tmp_path / "one.npz", MEMBERS | {"layer0.npy": bomb, "layer1.npy": bomb})
    assert (tmp_path / "one.npz").stat().st_size < 2**17
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"its arrays take 4,800,\d+,\d+ bytes, allowed are"):
        load_archive(tmp_path / "one.npz", "test", ENTRIES)
    archive(tmp_path / "two.npz", MEMBERS | {"w.npy": bomb})
    with pytest.raises(ValueError, match=r"w has the shape \(100000000, 3\), \(2, 3\) is needed"):
        load_archive(tmp_path / "two.npz", "test", ENTRIES, {"rows": 2})
    card = header(f"{{'descr': '<U{LONGEST}', 'fortran_order': False, 'shape': (2,)}}\n")
    with pytest.raises(ValueError, match=r"two\.npz is no test"):
        load_card(archive(tmp_path / "two.npz", {"card.npy": card}), "test")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_long_list_of_members_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.npz", "w") as file:
        for number in range(6000):
            file.writestr(f"{number:064d}.npy", b"")
    with pytest.raises(ValueError, match="list of members that is longer"):
        load_archive(tmp_path / "one.npz", "test", ENTRIES)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # which would wait for a writer
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="is no regular file"):
            load_archive(path, "test", ENTRIES)
        with pytest.raises(ValueError, match="is no regular file"):
            load_array(path, "test", Entry(("rows",)))
        with pytest.raises(ValueError, match="is no regular file"):
            load_json(path)
    with pytest.raises(ValueError, match="missing is no test: there is no such file"):
        load_archive(tmp_path / "missing", "test", ENTRIES)


# -- single arrays, JSON, cards ----------------------------------------------------------------------------------------


def test_a_single_array_is_as_long_as_it_says(tmp_path: Path) -> None:
    entry = Entry(("rows", 3), FLOATS)
    for array in (np.ones((2, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3))):
        np.save(tmp_path / "one.npy", array)
        np.testing.assert_array_equal(load_array(tmp_path / "one.npy", "test", entry), array)
    whole = (tmp_path / "one.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:20], b""):
        (tmp_path / "one.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"one\.npy is no test"):
            load_array(tmp_path / "one.npy", "test", entry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "b": 1}}', "'b' twice in one object"),
        ('{"a": {"b": [1, NaN]}}', "a.b is nan, a finite number is needed"),
        ("-Infinity", "the JSON is -inf, a finite number is needed"),
        ('{"a": 1' + "0" * 400 + "}", "a is 1000"),
        ("1" * 5000, "limit"),
        ('{"a\\nb": 1}', r"the JSON has the name 'a\\nb', up to 200 printable letters are allowed"),
        (json.dumps({"a" * 201: 1}), "the JSON has the name 'aaa"),
        ("[" * 100_000, "more than 32 lists and objects"),
        ("[" * 33 + "0" + "]" * 33, "more than 32 lists and objects"),
        ("[" * 32 + "0", "Expecting"),
        ("", "Expecting value"),
    ],
)
def test_json_is_strict(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_plain_json_is_what_it_says() -> None:
    tree = {"a": [1, 2.5, -3e-300, True, None], "b": {"c": "\u00b5S"}, "d": 2**128}
    assert parse_json(json.dumps(tree)) == tree


def test_a_json_file_is_text_and_not_endless(tmp_path: Path) -> None:
    for content in (b"\xff\xfe{}", b" " * (LONGEST + 1)):
        (tmp_path / "one.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"utf-8|longer than"):
            load_json(tmp_path / "one.json")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"a": 1}, "its card lacks b"),
        ({"a": 1, "b": True, "c": 3}, "its card has 'c', known are a, b"),
        ({"a": "1", "b": True}, "a is '1' in its card; a value of type float is needed"),
        ({"a": True, "b": True}, "a is True in its card; a value of type float is needed"),
        ({"a": 1, "b": 1}, "b is 1 in its card; a value of type bool is needed"),
    ],
)
def test_a_card_has_the_names_and_types_that_were_asked_for(card: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_card(card, {"a": float, "b": bool})
    check_card({"a": 1, "b": False}, {"a": float, "b": bool})
