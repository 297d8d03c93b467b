"""Strategies for files of strangers: valid ones with a few things changed, which tells more than random bytes do."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = st.DrawFn
NUMBERS = (
    *(np.nan, np.inf, 0.0, 1.0, 0.5, 1e-3, 1e3, 1e6, 1e30, 1e38, 1e300, 1.7e308, 1e-30, 1e-300, 5e-324),
    3,
    10**19,
)
DTYPES = ("f2", "f4", "f8", ">f8", "i1", "i8", "u8", "?", "c16", "U3", "S3", "O", "M8[s]", "f8,f8")
WORDS = ("", " ", "a", "\0", "\ud800", "\n", "\u00e9", "\U0001f642", "a" * 300, "../a", "nan", "-inf", "1e999", "0x10")
WORDS += ("\u0661", "1_0", "9" * 400)
signed = st.sampled_from(NUMBERS).flatmap(lambda number: st.sampled_from((number, -number)))
texts = st.sampled_from(
    (*map(json.dumps, WORDS), "null", "true", "false", "[]", "{}", "[1.0]", '{"a": 1}', "1" + "0" * 400)
)
leaves = signed | texts.map(json.loads)


# -- bytes -------------------------------------------------------------------------------------------------------------


@st.composite
def changed_bytes(draw: Draw, content: bytes, most: int = 2) -> bytes:
    """The content with a few bytes turned, taken out, put in or repeated, or without its end."""
    for _ in range(draw(st.integers(0, most))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from((1, 1, 2, 8, 64)))
        before, part, after = content[:place], content[place : place + length], content[place + length :]
        content = draw(
            st.sampled_from(
                (
                    before + bytes(255 - byte for byte in part) + after,
                    before + bytes(byte ^ 1 for byte in part) + after,
                    before + after,
                    before + b"\xff\x00,\n" + part + after,
                    before + part + part + after,
                    before + bytes(len(part)) + after,
                    before,
                )
            )
        )
    return content


# -- JSON --------------------------------------------------------------------------------------------------------------


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything in a tree that is not too deep, but to itself."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if len(path) > 5:
        return []
    return [one for name, part in inside for one in ((*path, name), *places(part, (*path, name)))]


@st.composite
def changed_trees(draw: Draw, tree: Any, most: int = 3) -> Any:
    """The tree of a JSON text with values replaced, left out, renamed, added or nested."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(0, most))):
        *way, name = draw(st.sampled_from(places(tree) or [("a",)]))
        parent = tree
        for step in way:
            parent = parent[step]
        if not (isinstance(parent, dict) and name in parent) and not isinstance(parent, list):
            continue
        value, what = (
            parent[name],
            draw(st.sampled_from(("value", "value", "value", "scale", "out", "name", "more", "deep"))),
        )
        if what == "value":
            parent[name] = draw(leaves)
        elif what == "scale" and isinstance(value, int | float) and not isinstance(value, bool):
            parent[name] = value * draw(signed)
        elif what == "out":
            del parent[name]
        elif what == "name" and isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS))] = parent.pop(name)
        elif what == "more":
            parent.update({draw(st.sampled_from(WORDS)): value}) if isinstance(parent, dict) else parent.append(value)
        elif what == "deep":
            for _ in range(draw(st.sampled_from((1, 31, 40, 900)))):
                value = [value]
            parent[name] = value
    return tree


@st.composite
def changed_json(draw: Draw, tree: Any) -> str:
    """The text of a changed tree, of which some is no longer JSON."""
    text = json.dumps(draw(changed_trees(tree)))
    how = draw(st.sampled_from(("as it is",) * 6 + ("twice", "bytes", "bytes", "around")))
    if how == "twice" and isinstance(tree, dict) and tree:
        name = draw(st.sampled_from(sorted(tree)))
        text = f"{{{json.dumps(name)}: {json.dumps(tree[name])}, {text[1:]}"
    elif how == "bytes":
        text = draw(changed_bytes(text.encode("utf-8"))).decode("latin1")
    elif how == "around":
        text = draw(st.sampled_from(("\ufeff{}", "[{}]", "{} {}", "{}\0", "NaN", "", "//\n{}"))).replace("{}", text)
    return text


# -- arrays ------------------------------------------------------------------------------------------------------------


@st.composite
def changed_array(draw: Draw, array: np.ndarray) -> np.ndarray:
    """The array with other numbers, of another type, size or order."""
    what = draw(st.sampled_from(("number", "number", "row", "all", "type", "shape", "size", "order")))
    if what in ("number", "row", "all") and array.dtype.kind in "fiu" and array.size:
        array, value = array.copy(), draw(signed)
        place = draw(st.integers(0, array.size - 1))
        rows = {"number": slice(place, place + 1), "row": slice(place, place + 5), "all": slice(None)}[what]
        with np.errstate(all="ignore"):
            wanted = (
                np.asarray(value, np.float64).astype(array.dtype)
                if array.dtype.kind == "f"
                else array.dtype.type(max(min(int(np.nan_to_num(value)), 100), 0))
            )
            array.reshape(-1)[rows] = wanted
    elif what == "type":
        with np.errstate(all="ignore"), suppress(TypeError, ValueError):  # from records and words there is no way back
            array = array.astype(draw(st.sampled_from(DTYPES)))
    elif what == "shape":
        shapes = (
            array.T,
            array.ravel(),
            array[None],
            array[..., None],
            array.reshape(-1, 1),
            array.reshape(array.shape[::-1]),
        )
        array = draw(st.sampled_from(shapes))
    elif what == "size" and array.ndim:
        axis = draw(st.integers(0, array.ndim - 1))
        size = array.shape[axis]
        kept = draw(st.sampled_from(([*range(size)] * 2, [*range(size)][:1], [], [*range(size - 1)])))
        array = array.take(np.array(kept, int), axis)
    elif what == "order":
        array = np.asfortranarray(array[::-1] if array.ndim else array)
    return array


@st.composite
def changed_archives(draw: Draw, arrays: Mapping[str, np.ndarray], card: Any = None, most: int = 2) -> bytes:
    """An .npz file like that of the arrays and the card, with members changed, left out, renamed, added or repeated."""
    members = [(name, array) for name, array in arrays.items()]
    for _ in range(draw(st.integers(0, most))):
        if not members:
            break
        place = draw(st.integers(0, len(members) - 1))
        name, array = members[place]
        what = draw(st.sampled_from(("array",) * 5 + ("out", "name", "twice", "more", "swap")))
        if what == "array":
            members[place] = name, draw(changed_array(array))
        elif what == "out":
            del members[place]
        elif what == "name":
            members[place] = draw(st.sampled_from((name + "0", name.upper(), "card", "", "a/../" + name, "\n"))), array
        elif what == "twice":
            members.append((name, array))
        elif what == "more":
            members.append((draw(st.sampled_from(("more", "weight9", "hidden07", "head"))), array))
        else:
            other = draw(st.integers(0, len(members) - 1))
            members[place], members[other] = (name, members[other][1]), (members[other][0], array)
    if card is not None:
        text = draw(changed_json(card)) if draw(st.booleans()) else json.dumps(card)
        as_bytes = draw(st.integers(0, 4)) == 0
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        members.append(("card", np.frombuffer(text.encode(), np.uint8) if as_bytes else np.array(text)))
    return draw(damaged(archive(members)))


def archive(members: list[tuple[str, np.ndarray]]) -> bytes:
    """An .npz file; names may be there twice, objects are pickled."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in members:
            info = zipfile.ZipInfo(f"{name}.npy")  # which zipfile.writestr would warn of where it is there twice
            file.NameToInfo.pop(info.filename, None)
            file.writestr(info, npy(array))
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=True)
    return buffer.getvalue()


@st.composite
def changed_npy(draw: Draw, array: np.ndarray) -> bytes:
    """An .npy file like that of the array."""
    for _ in range(draw(st.integers(0, 2))):
        array = draw(changed_array(array))
    content = npy(array)
    header = (
        (b"'fortran_order': False", b"'fortran_order': 0"),
        (b"(", b"(-1, "),
        (b"'descr': '", b"'descr': '|"),
        (b"), }", b"L), }"),
    )
    if draw(st.integers(0, 5)) == 0:
        content = content.replace(*draw(st.sampled_from(header)), 1)
    return draw(damaged(content))


@st.composite
def damaged(draw: Draw, content: bytes) -> bytes:
    """The file, in one case of four with changed bytes."""
    return draw(changed_bytes(content)) if draw(st.integers(0, 3)) == 0 else content


# -- tables of text ----------------------------------------------------------------------------------------------------


@st.composite
def changed_tables(draw: Draw, rows: list[list[str]]) -> bytes:
    """A CSV file like that of the rows."""
    rows = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 3))):
        if not rows:
            break
        place = draw(st.sampled_from((0, 1, len(rows) - 1)) | st.integers(0, len(rows) - 1)) % len(rows)
        column = draw(st.integers(0, max(len(rows[place]) - 1, 0)))
        what = draw(st.sampled_from(("entry",) * 4 + ("out", "twice", "swap", "short", "long", "column", "scale")))
        if what == "entry" and rows[place]:
            rows[place][column] = draw(st.sampled_from(WORDS) | signed.map(str))
        elif what == "out":
            del rows[place]
        elif what == "twice":
            rows.insert(place, list(rows[place]))
        elif what == "swap":
            rows[place], rows[-1] = rows[-1], rows[place]
        elif what == "short":
            rows[place] = rows[place][:column]
        elif what == "long":
            rows[place].append("1")
        elif what == "column":
            rows = [row[:column] + row[column + 1 :] for row in rows]
        elif what == "scale":
            factor = draw(signed)
            rows = [
                [*row[:column], _times(row[column], factor), *row[column + 1 :]] if column < len(row) else row
                for row in rows
            ]
    end = draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))
    between = draw(st.sampled_from((",", ",", ",", ";", "\t")))
    content = end.join(between.join(row) for row in rows).encode("utf-8", "surrogatepass")
    return draw(damaged(draw(st.sampled_from((b"", b"", b"\xef\xbb\xbf"))) + content))


def _times(text: str, factor: float) -> str:
    try:
        return str(float(text) * factor)
    except (ValueError, OverflowError):
        return text


# -- command lines and keywords ----------------------------------------------------------------------------------------


@st.composite
def some_of(draw: Draw, choices: Mapping[str, Callable[[], Any] | st.SearchStrategy[Any]], most: int) -> dict[str, Any]:
    """A few of these names with a value each."""
    names = draw(st.lists(st.sampled_from(sorted(choices)), max_size=most, unique=True))
    return {name: draw(choices[name]) for name in names}
