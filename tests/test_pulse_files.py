"""A lab's files as laboratories keep them: what each is read as, what is said of it, what is refused."""

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memenv.__main__ import main
from memenv.devices.records import DeviceError
from memenv.fitting.headers import meaning
from memenv.fitting.pulse_data import PulseData, read_csv, turning_points

N = 30
SHARE = np.linspace(0, 1, N)
UP = 5e-6 + 45e-6 * (1 - np.exp(-3 * SHARE)) / (1 - np.exp(-3))  # [S]
DOWN = 50e-6 - 45e-6 * (1 - np.exp(-4 * SHARE)) / (1 - np.exp(-4))
BOTH = np.concatenate([UP, DOWN])


def table(header: str, *columns: object, by: str = ",", comma: bool = False, before: str = "") -> str:
    """Columns of numbers or texts under a header, behind some lines."""
    lines = [before.rstrip("\n")] * bool(before) + [header] * bool(header)
    for row in zip(*columns, strict=True):
        cells = [one if isinstance(one, str) else f"{one:.8g}" for one in row]
        lines.append(by.join(cell.replace(".", ",") if comma else cell for cell in cells))
    return "\n".join(lines) + "\n"


def long(header: str, *columns: object) -> str:
    """Columns beside the reads of a rising and a falling train."""
    return table(header, *columns, BOTH)


COUNT, ALWAYS, WAY = [*range(1, N + 1)], np.ones(N), np.repeat([1.0, -1.0], N)
THOUSANDS = [[f"{1e9 * x:,.3f}" for x in way] for way in (UP, DOWN)]
POINTS = [[x.translate(str.maketrans(",.", ".,")) for x in way] for way in THOUSANDS]
NS = [[f"{1e9 * x:,.0f}" for x in way] for way in (UP, DOWN)]
OHM = [[f"{1 / x:,.0f}" for x in way] for way in (UP, DOWN)]
SPACES = [[x.replace(",", "\N{NARROW NO-BREAK SPACE}").replace(".", ",") for x in way] for way in THOUSANDS]
NAMES, WAYS = ["a"] * N + ["b"] * N, ["SET"] * N + ["RESET"] * N
KINDS: dict[str, tuple[str, dict[str, object], str]] = {  # text, options, what is said
    "microsiemens": (table("LTP (uS),LTD (uS)", UP * 1e6, DOWN * 1e6), {}, "conductance [uS]"),
    "microsiemens behind an underscore": (table("G_up_uS,G_down_uS", UP * 1e6, DOWN * 1e6), {}, "conductance [uS]"),
    "a micro sign": (table("set [µS],reset [µS]", UP * 1e6, DOWN * 1e6), {}, "conductance [uS]"),
    "two units of one quantity": (table("G (uS),G2 (nS)", UP * 1e6, DOWN * 1e9), {}, "conductance"),
    "kiloohms": (table("R1/kOhm,R2/kOhm", 1e-3 / UP, 1e-3 / DOWN), {}, "resistance [kOhm]"),
    "ohms by size": (table("a,b", 1 / UP, 1 / DOWN), {}, "resistance [Ohm] in 'a', 'b' (no unit is named"),
    "currents": (table("I1 [uA],I2 [uA]", UP * 1e5, DOWN * 1e5), {}, "read voltage 0.1 V (assumed"),
    "currents with a minus": (table("I1 [A],I2 [A]", -UP * 0.2, -DOWN * 0.2), {"read_voltage": 0.2}, "0.2 V"),
    "currents without a header": (table("", UP * 0.1, DOWN * 0.1), {}, "current [A] in column 1, column 2"),
    "currents at a voltage of each row": (
        table("I (A),Vread (V),train,pulse", BOTH * 0.3 * WAY, 0.3 * WAY, NAMES, COUNT * 2),
        {},
        "read voltage of each row",
    ),
    "currents beside one voltage": (table("V,I1", np.full(2 * N, 0.3), BOTH * 0.3), {}, "read voltage 0.3 V"),
    "a preamble": (
        table("I1 (A),I2 (A)", UP * 0.2, DOWN * 0.2, before="Device,A3\nRead voltage (mV),200\nUser,x\n\n"),
        {},
        "read voltage 0.2 V",
    ),
    "comments": (
        table("x,y", UP * 0.05, DOWN * 0.05, before="# measured at 50 mV\n% on a Monday\n"),
        {},
        "read voltage 0.05 V",
    ),
    "a header that is a comment": (table("# G_a (uS), G_b (uS)", UP * 1e6, DOWN * 1e6), {}, "[uS] in 'G_a (uS)'"),
    "units in a line of their own": (table("LTP,LTD\nuS,uS", UP * 1e6, DOWN * 1e6), {}, "conductance [uS]"),
    "semicolons": (table("LTP;LTD", UP, DOWN, by=";"), {}, "separated by semicolons; conductance [S]"),
    "decimal commas": (table("LTP;LTD", UP * 1e6, DOWN * 1e6, by=";", comma=True), {}, "decimal commas"),
    "decimal commas behind tabs": (table("G\tG", UP, DOWN, by="\t", comma=True), {}, "tabs, decimal commas"),
    "one column of decimal commas": (table("G (uS)", BOTH * 1e6, comma=True), {}, "one column, decimal commas"),
    "marks between thousands": (
        table("LTP (nS);LTD (nS)", *THOUSANDS, by=";"),
        {},
        "semicolons, marks between thousands",
    ),
    "thousands in quotes": (
        table("LTP (nS),LTD (nS)", *[[f'"{x}"' for x in column] for column in THOUSANDS]),
        {},
        "commas, marks between thousands",
    ),
    "decimal commas and points between thousands": (
        table("LTP (nS);LTD (nS)", *POINTS, by=";"),
        {},
        "decimal commas, marks between thousands",
    ),
    "spaces between thousands behind tabs": (
        table("Impulsion\tLTP [nS]\tLTD [nS]", COUNT, *SPACES, by="\t"),
        {},
        "separated by tabs, decimal commas, marks between thousands",
    ),
    "decimal commas in quotes": (
        table("G1 (uS),G2 (uS)", *[[f'"{1e6 * x:.7g}"'.replace(".", ",") for x in way] for way in (UP, DOWN)]),
        {},
        "commas, decimal commas",
    ),
    "settings of numbers before the header": (
        "Dimension1, 60, 60, 1\n"
        + table("DataName, Index, V1, I1", ["DataValue"] * 2 * N, COUNT * 2, np.full(2 * N, 0.2), BOTH * 0.2, by=", "),
        {},
        "read voltage 0.2 V",
    ),
    "a unit in the next column": (
        table(
            "Index,Reading,Unit,Source Value,Source Unit",
            COUNT * 2,
            BOTH * 0.2,
            *[[x] * 2 * N for x in ("Amp DC", "0.2", "Volt DC")],
        ),
        {},
        "current [Amp] in 'Reading (Amp)', read voltage 0.2 V",
    ),
    "units below the names and comments below these": (
        table("Pulse\tG\tG\n#\tnS\tnS\n\tLTP\tLTD", COUNT, UP * 1e9, DOWN * 1e9, by="\t"),
        {},
        "'G LTP (nS)', 'G LTD (nS)'",
    ),
    "names of two words between spaces": (
        table("Pulse number  G up (uS)  G down (uS)", COUNT, UP * 1e6, DOWN * 1e6, by="  "),
        {},
        "'Pulse number' (counts",
    ),
    "drawn lines": (
        table("n | LTP (uS) | LTD (uS)\n---|---|---", COUNT, UP * 1e6, DOWN * 1e6, by="|"),
        {},
        "'LTP (uS)'",
    ),
    "columns that end in nan": (table("LTP (S),LTD (S)", [*UP, "NaN"], [*DOWN, "NaN"]), {}, "conductance [S]"),
    "a header on every page": (
        table("n,LTP (S),LTD (S)", COUNT[:9], UP[:9], DOWN[:9])
        + table("n,LTP (S),LTD (S)", COUNT[9:], UP[9:], DOWN[9:]),
        {},
        "counts 1 to 30",
    ),
    "a copy in another unit": (table("G (uS),G (nS)", BOTH * 1e6, BOTH * 1e9), {}, "set aside: 'G (nS)' (a copy)"),
    "names in German": (
        table(
            "Zyklus;Puls;Spannung (V);Pulsbreite (µs);Widerstand",
            NAMES,
            COUNT * 2,
            WAY,
            [0.1] * 2 * N,
            1 / BOTH,
            by=";",
        ),
        {},
        "resistance [Ohm] in 'Widerstand'",
    ),
    "names in French": (table("Durée (µs);Courant (µA)", [0.1] * 2 * N, BOTH * 1e5, by=";"), {}, "current [uA]"),
    "row numbers without a name": (table("LTP (S),LTD (S)", COUNT, UP, DOWN), {}, "aside: column 1 (counts 1 to 30)"),
    "units in brackets in a line of their own": (
        table("n,LTP,LTD\n(-),(uS),(uS)", COUNT, UP * 1e6, DOWN * 1e6),
        {},
        "set aside: 'n (-)'",
    ),
    "tabs": (table("LTP (S)\tLTD (S)", UP, DOWN, by="\t"), {}, "separated by tabs"),
    "spaces": (table("", UP * 0.1, DOWN * 0.1, by="   "), {}, "separated by spaces"),
    "the unit stated": (table("LTP,LTD", UP * 1e9, DOWN * 1e9), {"unit": "nS"}, "conductance [nS]"),
    "the quantity stated": (table("I (A),G (S)", BOTH * 3, BOTH), {"quantity": "conductance"}, "'I (A)' (current)"),
    "a column of pulse numbers": (table("n,LTP (S),LTD (S)", COUNT, UP, DOWN), {}, "set aside: 'n' (counts 1 to 30)"),
    "a column of pulse numbers without a name": (table("", COUNT, UP * 0.1, DOWN * 0.1), {}, "counts 1 to 30"),
    "pulse numbers beside each": (table("Pulse,LTP (S),Pulse,LTD (S)", COUNT, UP, COUNT, DOWN), {}, "aside: 'Pulse'"),
    "pulse numbers that count down": (
        table("Pulse,LTP (S),Pulse,LTD (S)", COUNT, UP, COUNT[::-1], DOWN[::-1]),
        {},
        "counts 30 to 1",
    ),
    "a time": (table("Time (s),LTP (S),LTD (S)", np.arange(N) * 0.25, UP, DOWN), {}, "times in 'Time (s)'"),
    "a time without a name": (table("", np.arange(N) * 0.25, UP * 0.1, DOWN * 0.1), {}, "set aside: column 1"),
    "a temperature": (table("N,Temperature (K),LTP (S),LTD (S)", COUNT, ALWAYS * 300, UP, DOWN), {}, "Temperature"),
    "listed backwards": (table("LTP (S),LTD (S)", UP, DOWN[::-1]), {}, "'LTD (S)' moves against its name"),
    "stacked": (table("pulse,G (S)", COUNT * 2, BOTH), {}, "conductance [S] in 'G (S)'"),
    "stacked behind an empty line": (table("G (S)", UP) + "\n" + table("", DOWN), {}, "conductance [S]"),
    "stacked with two headers": (table("LTP (S)", UP) + table("LTD (S)", DOWN), {}, "'LTD (S)'"),
    "one train that turns": (
        table("G (S)", BOTH),
        {},
        "1 of 1 trains turn: split at their turning points, 2 trains",
    ),
    "amplitudes without a sign": (
        long("train,pulse,amplitude_V,G (S)", NAMES, COUNT * 2, ALWAYS.tolist() * 2),
        {},
        "All amplitudes are positive, but 1 of 2 trains fall",
    ),
    "amplitudes without a sign in one train": (long("V (V),G (S)", ALWAYS.tolist() * 2), {}, "amplitudes are positive"),
    "positive amplitudes that RESET": (
        long("train,pulse,V (V),G (S)", NAMES, COUNT * 2, -WAY),
        {},
        "Negative pulses raise the conductance",
    ),
    "an instrument's log": (
        "".join(f"Setup,x{k},{k},{k}\n" for k in range(80))
        + table("Data,V1,I1,Time", ["Value"] * 2 * N, np.full(2 * N, 0.2), BOTH * 0.2, np.arange(2 * N) * 0.5),
        {},
        "read voltage 0.2 V; set aside: 'Time', 'Data'",
    ),
    "empty cells behind each row": (
        table("train,pulse,V,G (S),,", NAMES, COUNT * 2, WAY, BOTH, [""] * 2 * N, [""] * 2 * N),
        {},
        "conductance [S]",
    ),
    "a line below the table": (table("LTP (S),LTD (S)", UP, DOWN) + "\nend of file\n", {}, "conductance"),
    "polarities by name": (long("train,pulse,operation,G (S)", NAMES, COUNT * 2, WAYS), {}, "conductance [S]"),
    "names of an instrument": (
        table(
            "Word Line;Bit Line;cycle;V (mV);Pulse Width (ns);R (kOhm)",
            *(["3"] * 2 * N, ["17"] * 2 * N, NAMES, 1000 * WAY, [100] * 2 * N, 1e-3 / BOTH),
            by=";",
        ),
        {},
        "resistance [kOhm] in 'R (kOhm)'",
    ),
}


def test_a_copy_is_known_of_each_device_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text(
        table("G (uS),G (nS),G (uS),G (nS)", BOTH * 1e6, BOTH * 1e9, BOTH * 2e6, BOTH * 2e9)
    )
    data = read_csv(tmp_path / "lab.csv")
    assert "'G (nS)' (a copy), 'G (nS)' (a copy)" in " ".join(data.understood) and data.conductance.shape[1] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_whatever_its_form(kind: str, tmp_path: Path) -> None:
    text, options, said = KINDS[kind]
    (tmp_path / "lab.csv").write_text(text, encoding="utf-8")
    data = read_csv(tmp_path / "lab.csv", **options)
    trains = [data.conductance[:, k][np.isfinite(data.conductance[:, k])] for k in range(len(data.device))]
    np.testing.assert_allclose(trains, [UP, DOWN], rtol=1e-6)
    assert np.sign(data.amplitude[1:]).T.tolist() == [[1] * (N - 1), [-1] * (N - 1)]
    assert said in " ".join(data.understood), data.understood
    assert len(data.devices) == 1


WHOLE = {
    "spaces between thousands of one column": (
        table("R (Ohm)", [x.replace(",", " ") for way in OHM for x in way]),
        {},
        "one column, marks between thousands",
    ),
    "commas that must stand between thousands": (
        table("R1 (Ohm);R2 (Ohm)", *OHM, by=";"),
        {},
        "200,000 is taken for 200000 (else say --decimal)",
    ),
    "commas that may stand between thousands": (table("a (nS);b (nS)", *NS, by=";"), {"decimal": "point"}, "thousands"),
    "commas that may be decimal": (table("a (uS);b (uS)", *NS, by=";"), {"decimal": "comma"}, "decimal commas"),
    "points that may stand between thousands": (
        table("a (nS);b (nS)", *[[x.replace(",", ".") for x in way] for way in NS], by=";"),
        {"decimal": "comma"},
        "marks between thousands",
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_have_marks_between_thousands_where_that_makes_a_device_or_is_stated(
    kind: str, tmp_path: Path
) -> None:
    text, options, said = WHOLE[kind]
    (tmp_path / "lab.csv").write_text(text, encoding="utf-8")
    data = read_csv(tmp_path / "lab.csv", **options)
    np.testing.assert_allclose(data.conductance.T, [UP, DOWN], rtol=1e-4)
    assert said in " ".join(data.understood), data.understood


@pytest.mark.parametrize("form", ["{:.3f}", "{:,.0f}"])
def test_a_comma_before_three_digits_is_decimal_unless_smaller_whole_numbers_have_none(
    form: str, tmp_path: Path
) -> None:
    cells = [[form.format(4e7 * x).replace(".", ",") for x in way] for way in (UP, DOWN)]
    (tmp_path / "lab.csv").write_text(table("LTP (nS);LTD (nS)", *cells, by=";"))
    np.testing.assert_allclose(read_csv(tmp_path / "lab.csv").conductance.T, [0.04 * UP, 0.04 * DOWN], rtol=5e-3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings_of_instruments_are_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text(KINDS["a micro sign"][0], encoding=encoding)
    np.testing.assert_allclose(read_csv(tmp_path / "lab.csv").conductance.T, [UP, DOWN], rtol=1e-6)


@pytest.fixture
def spreadsheet(tmp_path: Path) -> Callable[..., Path]:
    """Sheets by title, each of rows, in a file."""
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed: extra excel")

    def save(**sheets: list[tuple[object, ...]]) -> Path:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / "lab.xlsx")
        return tmp_path / "lab.xlsx"

    return save


ROWS = [*zip((1e6 * UP).tolist(), (1e6 * DOWN).tolist(), strict=True)]
DAY = datetime.datetime(2024, 3, 5, 10)


@pytest.mark.parametrize(
    ("sheets", "said"),
    [
        (
            {"a": [("Read voltage (V)", 0.2), (), ("LTP (uA)", "LTD (uA)"), *([0.2 * x, 0.2 * y] for x, y in ROWS)]},
            "0.2 V",
        ),
        ({"notes": [("Day", DAY)], "a": [("LTP (uS)", "LTD (uS)"), *ROWS]}, "sheet 'a', not read: 'notes'"),
        ({"a": [("LTP (uS)", "LTD (uS)"), *ROWS], "mean": [("G (uS)",), (5.0,)]}, "sheet 'a', not read: 'mean'"),
        (
            {"up": [("n", "G (uS)"), *enumerate(1e6 * UP)], "down": [("n", "G (uS)"), *enumerate(1e6 * DOWN)]},
            "sheet 'up'",
        ),
        ({"a": [("LTP (uS)", "LTD (uS)"), *((f"{x:.7f}".replace(".", ","), y) for x, y in ROWS)]}, "sheet 'a'"),
        ({"a": [("Time", "LTP (uS)", "LTD (uS)"), *((DAY, *row) for row in ROWS)]}, "set aside: 'Time'"),
        ({"a": [(), (None, None, "LTP (uS)", "LTD (uS)"), *((None, None, *row) for row in ROWS)]}, "sheet 'a'"),
    ],
    ids=["below a preamble", "behind notes", "before a mean", "two sheets", "commas in text", "dates", "to the right"],
)
def test_a_spreadsheet_is_read_whatever_its_form(
    sheets: dict[str, list[tuple[object, ...]]], said: str, spreadsheet: Callable[..., Path]
) -> None:
    data = read_csv(spreadsheet(**sheets))
    np.testing.assert_allclose(data.conductance.T, [UP, DOWN], rtol=1e-6)
    assert said in data.understood[0]


def test_a_spreadsheet_under_the_name_of_a_text_is_refused(spreadsheet: Callable[..., Path]) -> None:
    path = spreadsheet(a=[("LTP (uS)", "LTD (uS)"), *ROWS])
    path = path.rename(path.with_suffix(".csv"))
    with pytest.raises(DeviceError, match=r"lab\.csv: this is a zip archive \(a spreadsheet ends in \.xlsx"):
        read_csv(path)


def test_pulses_of_a_note_are_those_of_the_driver(tmp_path: Path) -> None:
    note = "Pulse,+1.5 V 100 ns / -1.6 V 2 us\n"
    (tmp_path / "lab.csv").write_text(table("LTP (S),LTD (S)", UP, DOWN, before=note))
    data = read_csv(tmp_path / "lab.csv")
    assert data.amplitude[1].tolist() == [1.5, -1.6]
    assert data.width[1] == pytest.approx([1e-7, 2e-6])
    assert "pulses of 1.5 and 1.6 V by a note" in data.understood[0]


def test_devices_in_columns_are_devices(tmp_path: Path) -> None:
    header = "pulse,Device 1 (S),Device 2 (S)"
    (tmp_path / "lab.csv").write_text(table(header, COUNT * 2, BOTH, 1.1 * BOTH))
    data = read_csv(tmp_path / "lab.csv")
    assert data.devices == ("Device 1 (S)", "Device 2 (S)")
    assert data.device.tolist() == [0, 0, 1, 1]


def test_word_and_bit_line_name_the_device_and_rows_of_zero_width_are_reads(tmp_path: Path) -> None:
    width = [100.0 * (k % N != 0 and k % N != 7) for k in range(2 * N)]
    columns = (["3"] * 2 * N, ["17"] * 2 * N, WAY * 1.2, width, 1e-3 / BOTH)
    (tmp_path / "lab.csv").write_text(table("WL,BL,V,pulse width (ns),R (kOhm)", *columns))
    data = read_csv(tmp_path / "lab.csv")
    assert data.devices == ("3/17",)
    assert data.width[1:, 0] == pytest.approx(1e-7)
    assert np.flatnonzero(data.amplitude[:, 0] == 0).tolist() == [0, 7, N, N + 7]
    assert data.amplitude[1, 0] == 1.2 and data.amplitude[-1, 0] == -1.2
    assert "28 SET and 28 RESET pulses, amplitude 1.2 V, width 1e-07 s" in data.summary()


def test_a_read_before_its_pulse_belongs_to_the_pulse_of_the_row_above(tmp_path: Path) -> None:
    amplitude = [*(1.0 + 0.1 * (np.arange(N) % 5)), *(-1.0 - 0.1 * (np.arange(N) % 5))]
    (tmp_path / "lab.csv").write_text(long("train,pulse,V (V),G (S)", NAMES, COUNT * 2, amplitude))
    after, before = (read_csv(tmp_path / "lab.csv", read=order) for order in ("after", "before"))
    assert after.amplitude[1:, 0] == pytest.approx(amplitude[1:N])
    assert before.amplitude[1:, 0] == pytest.approx(amplitude[: N - 1])


def test_of_reads_on_both_sides_of_a_pulse_the_order_chooses(tmp_path: Path) -> None:
    columns = ([2e5, *1 / BOTH[:-1]], WAY, 1 / BOTH)
    (tmp_path / "lab.csv").write_text(table("R before (Ohm),V,R after (Ohm)", *columns))
    after, before = (read_csv(tmp_path / "lab.csv", read=order) for order in ("after", "before"))
    np.testing.assert_allclose(after.conductance[:, 0], BOTH, rtol=1e-6)
    np.testing.assert_allclose(before.conductance[1:, 0], BOTH[:-1], rtol=1e-6)
    assert before.amplitude[1:, 0].tolist() == WAY[:-1].tolist()


def test_reads_in_the_noise_of_the_instrument_end_a_train_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text(table("LTP (S),LTD (S)", UP, [*DOWN[:-1], -1e-9]))
    data = read_csv(tmp_path / "lab.csv")
    assert np.isfinite(data.conductance).sum(axis=0).tolist() == [N, N - 1]
    assert "1 reads at or below zero" in data.understood[0]


def test_slow_wander_is_no_turning_point_and_even_turns_are_even() -> None:
    rng = np.random.default_rng(3)
    ramps = np.concatenate([UP, DOWN] * 3) / 5e-5 + 0.02 * rng.standard_normal(6 * N)
    assert turning_points(ramps) == [N * k for k in range(1, 6)]
    wander = np.linspace(0, 1, 900) + 0.12 * np.sin(np.arange(900) / 30) + 0.04 * rng.standard_normal(900)
    assert turning_points(wander) == []
    assert turning_points(rng.standard_normal(400)) == []


REFUSED = [
    (table("I (A),R (Ohm)", UP, 1 / UP), {}, "are current and resistance: choose one of them (--quantity)"),
    (table("conductance (kOhm)", BOTH), {}, "names conductance and a unit of resistance"),
    (table("G (S)", BOTH * 1e6), {}, "devices have 1e-15 to 1 S: correct the header's unit"),
    (table("G", BOTH), {"unit": "fS"}, "the median read is"),
    (
        table("G (uS)", BOTH),
        {},
        "the reads of 'G (uS)' are about 2.55e-05 uS: if S is meant, say --unit S, else --unit uS",
    ),
    (table("G (%)", BOTH * 2e6), {}, "'G (%)' is no unit of siemens, ohms or amperes"),
    (
        table("LTP (S),LTD (S)", [*UP[:9], "9.9e+37", *UP[10:]], DOWN),
        {},
        "line 11: LTP (S) is 9.9e+37, a finite number",
    ),
    (table("LTP (S),LTD (S)", ["OVERFLOW", *UP[1:]], DOWN), {}, "line 2: LTP (S) is 'OVERFLOW', a number is needed"),
    (table("LTP (S),LTD (S)", [*UP[:9], "#DIV/0!", *UP[10:]], DOWN), {}, "line 11: LTP (S) is '#DIV/0!'"),
    (table("LTP (nS),LTD (nS)", *THOUSANDS), {}, "line 2: 4 entries, the header names 2 columns"),
    (
        table("LTP (nS);LTD (nS)", *NS, by=";"),
        {},
        "5,000 may be 5000 (reads up to 50 uS: --decimal point) or 5 (reads up",
    ),
    (table("R (Ohm);R (Ohm)", *[[x.replace(",", ".") for x in way] for way in OHM], by=";"), {}, "or 200000 (reads up"),
    (table("log10 R (Ohm),x", -np.log10(BOTH), BOTH), {}, "'log10 R (Ohm)' names a logarithm or a change"),
    (table("dG SET (uS),dG RESET (uS)", UP * 1e5, DOWN * 1e5), {}, "names a logarithm or a change"),
    (table("V,I (A)", [*np.arange(N), *np.arange(N)[::-1]], [*UP, *UP[::-1]]), {}, "a current-voltage sweep"),
    (
        table("", ["LTP", "LTD"], *np.array([UP, DOWN]).T),
        {},
        "line 1: rows of 31 reads, 2 of them: trains are columns here",
    ),
    (table("LTP,LTD", [f"{1e6 * x:.4g} uS" for x in UP], DOWN * 0 + 1), {}, "'5 uS'"),
    (table("G", BOTH), {"decimal": "dot"}, "decimal is 'dot': point or comma"),
    (table("G", BOTH * 1e4), {}, "no unit is named; name it in the header, as in 'G (uS)', or say --unit"),
    (table("G (S)", BOTH), {"unit": "kOhm"}, "no column of resistance among 'G (S)'"),
    (table("G (S)", BOTH), {"unit": "parsec"}, "unit is 'parsec': a unit of conductance, resistance or current"),
    (table("pulse,G (S)", [10 * k for k in COUNT * 2], BOTH), {}, "pulse 20 follows pulse 10"),
    (long("train,pulse,width,G (S)", NAMES, COUNT * 2, [50] * 2 * N), {}, "'width' is about 50 and names no unit"),
    (long("train,pulse,polarity,G (S)", NAMES, COUNT * 2, ["up", "?"] * N), {}, "a polarity is needed (SET, RESET"),
    (table("device,R1 (Ohm),R2 (Ohm)", NAMES, 1 / BOTH, 1 / BOTH), {}, "are reads beside a column of trains"),
    (table("a,b", WAYS, NAMES), {}, "no table of numbers: its first line is 'a b'"),
    ("\x89HDF\r\n", {}, "this is an HDF5 file; pulse trains are read from text (.csv, .txt) and from .xlsx"),
    ("1,2\0\0\n", {}, "these are binary data"),
]


@pytest.mark.parametrize(("text", "options", "said"), REFUSED, ids=range(len(REFUSED)))
def test_a_file_that_contradicts_itself_is_refused_in_one_line(
    text: str, options: dict[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "lab.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DeviceError) as error:
        read_csv(tmp_path / "lab.csv", **options)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_text_that_is_named_a_spreadsheet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl is not installed: extra excel")
    (tmp_path / "lab.xlsx").write_text("a,b\n1,2\n")
    with pytest.raises(DeviceError, match="the name says spreadsheet, the content is none"):
        read_csv(tmp_path / "lab.xlsx")


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("G (uS)", "conductance", 1e-6),
        ("conductance_us", "conductance", 1e-6),
        ("R/kΩ", "resistance", 1e3),
        ("R_cell [MOhm]", "resistance", 1e6),
        ("Conductance in uS", "conductance", 1e-6),
        ("pulse width (ns)", "width", 1e-9),
        ("Pulse voltage (V)", "voltage", 1.0),
        ("Pulse number", "counter", None),
        ("device A", "device", None),
        ("A", "", None),
    ],
)
def test_a_name_tells_kind_and_unit(name: str, kind: str, unit: float | None) -> None:
    found = meaning(name)
    assert (found.kind, found.unit and found.unit.scale) == (kind, unit)


def test_the_understanding_is_said_before_the_fit_and_stands_in_the_source(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lab.csv").write_text(table("pulse,LTP (uS),LTD (uS)", COUNT, UP * 1e6, DOWN * 1e6))
    assert main(["fit", "lab.csv", "-o", "mine.json"]) == 0
    said = capsys.readouterr().err
    assert "conductance [uS] in 'LTP (uS)', 'LTD (uS)', read voltage 0.1 V (assumed" in said
    assert "2 pulse trains of 1 device (lab.csv), 29 SET and 29 RESET pulses, amplitude not told" in said
    assert "5 uS to 50 uS" in said
    assert "set aside: 'pulse' (counts 1 to 30)" in Path("mine.json").read_text()


def test_a_refused_file_leaves_nothing_behind(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lab.csv").write_text(table("G (S)", BOTH * 1e6))
    assert main(["fit", "lab.csv"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["lab.csv"]


# -- files of ../shared ------------------------------------------------------------------------------------------------

FIELD = {  # bounds [S] and pulses of each polarity
    "a_cols_uS.csv": (5.056e-6, 5e-5, 49),
    "ab_amp_unsigned.csv": (5e-6, 5e-5, 147),
    "b_cols_S.csv": (5.056e-6, 5e-5, 49),
    "e_semi.csv": (5.056e-6, 5e-5, 49),
    "f_semi_comma.csv": (5.056e-6, 5e-5, 49),
    "gong_1000up_1000down_A.csv": (6.444e-6, 3.411e-5, 999),
    "h_meta.csv": (5.056e-6, 5e-5, 49),
    "neuro3_pulse_number.csv": (5.78e-12, 2.94e-7, 49),
    "q_hdr_S.csv": (5.056e-6, 5e-5, 49),
    "x_comment.csv": (5.056e-6, 5e-5, 49),
}


@pytest.mark.parametrize("name", FIELD)
def test_a_file_from_the_field_is_read_right(name: str, published: Path) -> None:
    low, high, pulses = FIELD[name]
    data: PulseData = read_csv(published / "field" / name)
    assert np.nanmin(data.conductance) == pytest.approx(low, rel=1e-3)
    assert np.nanmax(data.conductance) == pytest.approx(high, rel=1e-3)
    assert int(data.of(1).sum()) == pulses
    assert int(data.of(-1).sum()) == pulses - (name == "neuro3_pulse_number.csv")  # its last read is below zero
    assert len(data.devices) == 1
    assert data.read_voltage == (0.2 if name == "h_meta.csv" else 0.1)


def test_marks_between_thousands_far_above_the_end_of_a_file_with_decimal_commas_are_no_decimals(tmp_path):
    ohms = np.concatenate([np.linspace(9000, 1001, 200).round(), np.linspace(500.5, 990.5, 450).round(1)])
    texts = [f"{ohm:,.0f}".replace(",", ".") if ohm > 1000 else f"{ohm:.1f}".replace(".", ",") for ohm in ohms]
    volts = np.where(np.arange(650) < 200, "1,2", "-1,3")
    rows = (f"{volt};{text}" for volt, text in zip(volts, texts, strict=True))
    path = tmp_path / "thousands.csv"
    path.write_text("\n".join(["V (V);R (Ohm)", *rows]))
    np.testing.assert_allclose(1 / read_csv(path).conductance[:, 0], ohms)
