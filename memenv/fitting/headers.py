"""Headers of a lab's table: kind, unit and polarity of a column by its name; units by their text."""

import re
import unicodedata
from typing import NamedTuple

from memenv.devices.records import DeviceError

READINGS = ("conductance", "resistance", "current")
SI = {"conductance": "S", "resistance": "Ohm", "current": "A", "voltage": "V", "time": "s"}
PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
SPELLED = {  # of a unit behind its prefix
    "conductance": "S|[Ss]iemens|[Mm]hos?",
    "resistance": "Ω|ω|[Oo]hms?|OHMS?",
    "current": "A|[Aa]mps?|[Aa]mperes?",
    "voltage": "V|[Vv]olts?",
    "time": "s|[Ss]ec|[Ss]econds?",
}
TEXTS = (  # of a name that may end in a unit, the surest first; None: its last word
    re.compile(r"(.*?)[\s_]*[(\[{]\s*([^)\]}]*?)\s*[)\]}](.*)"),
    re.compile(r"(.*?)\s*/\s*([^\s/]+)()"),
    re.compile(r"(.*?)[\s_,.]+([^\s_,.]+)()"),
    re.compile(r"()(.*)()"),
)
KINDS: dict[str, str] = {  # the first whose word is in the name; without accents
    "other": "temperature temp temperatur humidity status comment error err std sigma fehler compliance target energy",
    "width": "width duration pw twidth tpulse tp breite pulsbreite pulsdauer impulsbreite dauer duree largeur",
    "voltage": "amplitude amplitudes voltage volt volts v vp vpulse vset vreset vwrite vprog vapp spannung tension",
    "conductance": "conductance conductances cond g gds gread siemens leitwert leitwerte conduttanza conductancia",
    "resistance": "resistance resistances res r rread ron widerstand widerstande resistenza resistencia",
    "current": "current currents i id ids iread isense strom strome courant corrente corriente",
    "counter": "pulse pulses number num no n index idx # count step point puls pulsnummer impuls impulsion nr",
    "time": "time timestamp date t elapsed seconds zeit datum temps",
    "train": "train cycle run ramp sweep loop epoch trace repetition rep sequence zyklus messung",
    "polarity": "polarity type operation op direction mode sign polaritat polarite",
    "device": "device dev cell wl bl word bit row col column chip die id sample zelle bauteil bauelement cellule",
}
WAYS = {
    1: "set ltp potentiation pot up potentiate program increase",
    -1: "reset ltd depression dep down depress erase decrease",
}
GATES, LINES = {"gate", "vg", "vgs", "vgate", "vwl"}, {"wl", "wordline"}  # lines are addresses, too: volts tell
WANTED = {"voltage": "voltage", "read voltage": "voltage", "width": "time", "time": "time"}  # the quantity of a kind
WEIGHTS = frozenset(("ltp", "ltd", "potentiation", "depression"))  # words that are said of conductances


class Unit(NamedTuple):
    """A unit of a quantity, `scale` of which is the SI unit."""

    quantity: str
    scale: float
    text: str
    bare: bool  # one letter, which may as well be a name


class Meaning(NamedTuple):
    """The meaning of a column by its name; empty or None where it says nothing."""

    kind: str  # of KINDS, "read voltage", or "reading": of conductance, resistance or current
    unit: Unit | None
    polarity: int  # 1 SET, -1 RESET
    weight: bool  # named as one names a conductance
    device: bool  # one of several devices


def quoted(text: str) -> str:
    """A name as messages quote it: in one line, not long, printable."""
    line = " ".join(text.split())
    return repr(line if len(line) <= 40 else f"{line[:37]}...")


def parse_unit(text: str, quantity: str = "") -> Unit | None:
    """The unit that a text spells, if it does; of this quantity, whose unit may then be in small letters.

    >>> parse_unit("kOhm")
    Unit(quantity='resistance', scale=1000.0, text='kOhm', bare=False)
    """
    text = unicodedata.normalize("NFKC", text).replace("μ", "u").strip()
    for name in (quantity,) if quantity else SPELLED:
        flags = re.IGNORECASE if quantity else re.NOFLAG
        if found := re.fullmatch(rf"([fpnumkKMG]?)({SPELLED[name]})", text, flags):
            prefix = found[1] if found[1] in PREFIXES else found[1].lower()
            return Unit(name, PREFIXES[prefix], text, len(text) == 1)
    return None


def words(name: str) -> set[str]:
    """The words of a name in small letters; a number at the end of a word is a word of its own."""
    name = "".join(letter for letter in unicodedata.normalize("NFD", name) if not unicodedata.combining(letter))
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name) if not name.isupper() else name
    return set(re.findall(r"[a-zµΩ]+|\d+|#", f"{name} {spaced}".lower()))


def meaning(name: str) -> Meaning:
    """The meaning of a column's name.

    Raises:
        DeviceError: its unit is none of its quantity.
    """
    for place, text in enumerate(TEXTS):
        if not (found := text.fullmatch(name)):
            continue
        rest = f"{found[1]} {found[3]}"
        kind = _kind(words(rest))
        wanted = kind if kind in READINGS else WANTED.get(kind, "")
        unit = parse_unit(found[2], wanted) or parse_unit(found[2])
        if unit and wanted and unit.quantity != wanted:
            if place < 2:
                raise DeviceError(f"the column {quoted(name)} names {kind} and a unit of {unit.quantity}: correct one")
            continue
        if unit is None or (unit.bare and not wanted and (place == 3 or (place == 2 and kind != "reading"))):
            continue
        return _meaning(rest, kind, unit)
    return _meaning(name, _kind(words(name)), None)


def _meaning(name: str, kind: str, unit: Unit | None) -> Meaning:
    own = words(name)
    if kind == "gate" and unit and unit.quantity != "voltage":
        kind = "other"
    elif kind == "device" and unit and unit.quantity == "voltage" and of_line(own):
        kind = "gate"
    numbered = any(word.isdigit() for word in own)
    if unit and kind not in (*READINGS, "width", "voltage", "read voltage", "gate", "other"):
        pulsed = unit.quantity == "time" and own & {"pulse", "length"}
        kind = "width" if pulsed else unit.quantity
    device = kind == "device" or bool(own & {"device", "dev", "cell"}) or bool(re.fullmatch(r"[dD]\d+", name.strip()))
    if numbered and kind in ("device", "train", "counter"):  # "cycle 3" heads the reads of a cycle
        kind = ""
    polarity = next((sign for sign, way in WAYS.items() if own & set(way.split())), 0)
    return Meaning(kind, unit, polarity, bool(own & WEIGHTS), numbered and device)


def of_line(own: set[str]) -> bool:
    """True of words that name a word line."""
    return bool(own & LINES) or {"word", "line"} <= own


def _kind(own: set[str]) -> str:
    """The kind that words name."""
    if own & {"vread", "vsense"} or (own & {"read", "sense"} and own & {"voltage", "volt", "v", "bias"}):
        return "read voltage"
    if own & GATES or (of_line(own) and own & {"v", "volt", "volts", "voltage"}):
        return "other" if own & {"i", "a", "current", "leakage"} else "gate"
    for kind, text in KINDS.items():
        if own & set(text.split()):
            return "width" if kind in ("counter", "time") and own & {"length"} else kind
    return "reading" if own & {"read", "reads", "reading", *WAYS[1].split(), *WAYS[-1].split()} else ""
