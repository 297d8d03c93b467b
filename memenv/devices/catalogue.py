"""Devices by name, each with the source of its numbers, and the one function that takes a name, a file or a record."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, cast, overload

from memenv.bounds import shown
from memenv.devices.device import Device, Driver, Mismatch
from memenv.devices.law import Response
from memenv.devices.mixture import Mixture
from memenv.devices.neurosim import (
    ASSUMED_AMPLITUDE,
    neurosim_a,
    one_pulse_driver,
    one_pulse_response,
    one_pulse_uncertainty,
)
from memenv.devices.protocol import CellModel, DeviceSpec, checked, parametric
from memenv.devices.reads import Read, Retention
from memenv.devices.records import DeviceError, from_json, from_tree, validate
from memenv.devices.uncertainty import Uncertainty
from memenv.files import read_text

JERRY = (
    "Jerry et al., FeFET analog synapse, IEDM 2017, 10.1109/IEDM.2017.8268338, table of devices; labels as in NeuroSim."
)
PULSE = ("set.amplitude", "set.width", "reset.amplitude", "reset.width")
GONG = "Gong, Rasch et al., IEDM 2022, 10.1109/IEDM45625.2022.10019569, as fitted in aihwkit's preset"


def load_device(spec: DeviceSpec) -> CellModel:
    """The device of a preset's name, a path (.json or .npz), a record (also as JSON object), or a list (a `Mixture`).

    An object of another class that answers `CellModel` is a device, too.

    Raises:
        DeviceError: unknown name, missing or malformed file, impossible parameters, a class that lacks members.
    """
    if isinstance(spec, Device):
        return validate(spec)
    if isinstance(spec, str | Path):
        return _from_text(str(spec))
    if isinstance(spec, Mapping):  # what a record becomes in the JSON of a Gymnasium specification
        return from_tree(dict(spec))
    if isinstance(spec, Sequence) and spec:
        if len(spec) == 1:
            return load_device(spec[0])
        return Mixture(devices=tuple(parametric(load_device(part), "a mixture") for part in spec))
    if "fabricate" in dir(spec):
        return checked(spec)
    raise DeviceError(
        f"device is {shown(spec)}: a preset's name, a path, a Device record, an object that answers CellModel or a "
        "list of those is needed"
    )


class Loaded:
    """A field of a record that takes what `load_device` takes and holds the device."""

    def __init__(self, default: DeviceSpec) -> None:
        """`default` of the field."""
        self.default, self.name = default, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, record: None, owner: type) -> DeviceSpec: ...

    @overload
    def __get__(self, record: object, owner: type) -> CellModel: ...

    def __get__(self, record: object | None, owner: type) -> DeviceSpec | CellModel:
        """The device; of the class, the default, as dataclasses ask for it."""
        if record is None:
            return self.default
        device: CellModel = record.__dict__[self.name]
        return device

    def __set__(self, record: object, spec: DeviceSpec) -> None:
        record.__dict__[self.name] = load_device(spec)


def _from_text(text: str) -> CellModel:
    path = Path(text)
    if path.suffix == ".npz":
        from memenv.devices.measured import TableDevice

        return TableDevice.load(path)
    if path.suffix == ".json":
        try:
            record = read_text(path)
        except (OSError, ValueError) as error:
            raise DeviceError(f"cannot read the device file {text}: {error}") from None
        try:
            return from_json(record)
        except DeviceError as error:
            raise DeviceError(f"{text}: {error}") from None
    if text in PRESETS | GATED:
        return (PRESETS | GATED)[text]()
    if text in PHYSICS:
        return cast(CellModel, getattr(importlib.import_module(PHYSICS[text][0]), PHYSICS[text][1])())
    raise DeviceError(
        f"unknown device {text!r}; presets: {', '.join((*PRESETS, *GATED, *PHYSICS))}; or give a path to a .json "
        "record or a .npz table"
    )


def presets() -> tuple[str, ...]:
    """The names of the presets."""
    return tuple(PRESETS)


def physics_models() -> tuple[str, ...]:
    """The names of the devices with equations of their own, on which nothing that is shipped was trained."""
    return tuple(PHYSICS)


# -- building blocks ---------------------------------------------------------------------------------------------------


def _labelled(
    name: str,
    source: str,
    *,
    pulses: int,
    labels: tuple[float, float],
    r_on: float,
    on_off: float,
    up: tuple[float, float],
    down: tuple[float, float],
    noise: float,
) -> Device:
    """A device from its NeuroSim labels: `pulses` from bound to bound, (amplitude [V], width [s]) of SET and RESET.

    The exponential curve is the law with gamma = 1 and the pole 1 / expm1(1 / |A|) beyond a bound; a label of the
    unusual sign (SET < 0, RESET > 0) means steps that grow, and the pole lies behind.
    """

    def response(label: float, shrinks: bool, pulse: tuple[float, float]) -> Response:
        a = abs(neurosim_a(label))
        return one_pulse_response(
            *pulse, dose=1 / (a * pulses), margin=1 / math.expm1(1 / a), growing=not shrinks, additive_noise=noise
        )

    return Device(
        name=name,
        source=f"{source} {ASSUMED_AMPLITUDE}",
        g_min=1 / (r_on * on_off),
        g_max=1 / r_on,
        set=response(labels[0], labels[0] > 0, up),
        reset=response(labels[1], labels[1] < 0, down),
        driver=one_pulse_driver(up[0], down[0], (up[1], down[1])),
        read=Read(noise=0.002),
        uncertainty=one_pulse_uncertainty(up[0], down[0], "read.noise"),
    )


# -- the presets -------------------------------------------------------------------------------------------------------


def ideal() -> Device:
    """Linear, symmetric, without noise or mismatch: 100 reference pulses from bound to bound."""
    step = one_pulse_response(1.0, 1e-6, dose=0.01, gamma=0.0)
    return Device(
        name="ideal",
        source="A linear, noise-free reference of no particular material.",
        set=step,
        reset=step,
        driver=one_pulse_driver(1.0, 1.0, (1e-6, 1e-6)),
    )


def threshold() -> Device:
    """A filamentary oxide with threshold and exponential amplitude law: the hard case for open-loop programming."""
    up = Response(
        amplitude=1.2, width=1e-6, threshold=0.7, slope=0.1, dose=0.7, gamma=1.0, margin=0.05, cycle_noise=0.15
    )
    return Device(
        name="threshold",
        source="A generic device of memenv's own: spread 50 % in rate, 15 % in threshold, 8 % in bounds, "
        "cycle noise 15 %, read noise 0.4 %, SET/RESET asymmetry 1.4; the slope (e per 0.1 V) is at the gentle end of "
        "filamentary oxides (18-60 times per 0.1 V are measured at the steep one).",
        g_min=2e-6,
        g_max=1e-4,
        set=up,
        reset=replace(up, dose=0.5),
        driver=Driver(set_min=0.5, set_max=1.8, reset_min=0.5, reset_max=1.8, width_min=1e-7, width_max=1e-5),
        mismatch=Mismatch(rate=0.5, threshold=0.15, x_lo=0.08, x_hi=0.08),
        read=Read(noise=0.004),
    )


def _array_fit(
    name: str,
    material: str,
    *,
    dw_min: float,
    rate: float,
    c2c: float,
    write: float,
    w_min: float,
    w_max: float,
    corrupt: float,
) -> Device:
    """A whole-array fit of aihwkit: soft bounds in w = 2 x - 1, additive cycle noise, log-normal step sizes.

    A pulse changes w by dw_min (1 - w), so u shrinks by the factor 1 - dw_min. aihwkit divides a cell's step by its own
    bound as well; here rate and bounds are independent. Its write noise lies on the weight that is seen, drawn anew at
    each pulse, and leaves the one that later pulses start from: relaxation that is over at once.
    """
    g_min, g_max = 4e-5, 1e-4
    written = (0.5 * write * dw_min * (g_max - g_min) / g_max, 0.0, 0.0, 0.0, 0.0)
    law = one_pulse_response(1.0, 1e-6, dose=-math.log1p(-dw_min), additive_noise=c2c * dw_min / 2)
    return Device(
        name=name,
        source=f"{GONG} {material}; {corrupt:.2%} of the measured cells are corrupt (stuck anywhere here). The noise "
        f"of a write is {0.5 * write * dw_min:.1%} of the range. The conductance scale (40-100 uS), the pulse "
        f"(1 V, 1 us) and the read noise (0.5 % of the range) are assumptions. {ASSUMED_AMPLITUDE}",
        g_min=g_min,
        g_max=g_max,
        set=law,
        reset=law,
        driver=one_pulse_driver(1.0, 1.0, (1e-6, 1e-6)),
        mismatch=Mismatch(rate=rate, asymmetry=0.01, x_lo=w_min / 2, x_hi=w_max / 2, stuck_anywhere=corrupt),
        read=Read(noise=0.005),
        retention=Retention(sigma_early=written, sigma_late=written),
        uncertainty=one_pulse_uncertainty(1.0, 1.0, *PULSE, "g_min", "g_max", "read.noise"),
    )


def pcm() -> Device:
    """Phase-change memory with drift: gradual crystallisation (SET), abrupt melting (RESET), 1/f read noise.

    Retention and read noise: Nandakumar et al., 2019 and Joshi et al., Nature Communications 11, 2473 (2020),
    10.1038/s41467-020-16108-9. Their programming error, what is left 20 s after write-verify, is the relaxation here.
    """
    up = one_pulse_response(1.0, 5e-8, dose=0.15, gamma=1.0, cycle_noise=0.3)
    down = one_pulse_response(1.5, 5e-8, dose=0.6, gamma=1.0, cycle_noise=0.3)
    g_min, g_max = 1e-7, 2.5e-5
    return Device(
        name="pcm",
        source="Drift, programming error and read noise: Nandakumar et al. 2019; Joshi et al. 2020, "
        "10.1038/s41467-020-16108-9 (g = G / 25 uS). Pulses and dose (some 20 SET pulses to saturation, strong RESET), "
        f"their cycle noise (30 %) and spread (20 %) are assumptions. {ASSUMED_AMPLITUDE}",
        g_min=g_min,
        g_max=g_max,
        set=up,
        reset=down,
        driver=one_pulse_driver(1.0, 1.5, (5e-8, 5e-8)),
        mismatch=Mismatch(rate=0.2),
        read=Read(noise=0.0088 * g_max / (g_max - g_min), noise_exponent=0.35, noise_log_time=2.5e-7),
        retention=Retention(
            early=1e-6,
            late=20.0,
            sigma_late=(0.26348 / 25, 1.9650 / 25, -1.1731 / 25, 0.0, 0.0),
            drift_t0=20.0,
            drift_mean=(0.0244, -0.0155, 0.049, 0.1),
            drift_spread=(-0.0059, -0.0125, 0.008, 0.045),
        ),
        uncertainty=one_pulse_uncertainty(
            1.0, 1.5, *PULSE, "set.dose", "reset.dose", "set.cycle_noise", "reset.cycle_noise", "mismatch.rate"
        ),
    )


def neurram() -> Device:
    """Filamentary oxide behind transistors with relaxation, as programmed on the NeuRRAM chip.

    Wan et al., Nature 608, 504 (2022), 10.1038/s41586-022-04992-8: 1 to 40 uS, pulses of 1 us from 1.2 V, up by 0.1 V.
    Their polynomial of the spread after a day is that at `late`; it grows with ln t from the write on, which gives 0.55
    of it after a second, where their own polynomial has 0.42 to 0.64 of it.
    """
    law = Response(
        amplitude=2.0, width=1e-6, threshold=1.0, slope=0.2, dose=0.9, gamma=1.0, margin=0.05, cycle_noise=0.15
    )
    unknown = ("set.slope", "reset.slope", "set.dose", "reset.dose", "set.threshold", "reset.threshold")
    laws = ("dose", "gamma", "margin", "slope", "threshold", "cycle_noise")
    return Device(
        name="hfo2-neurram",
        source="Wan et al., Nature 608, 504 (2022), 10.1038/s41586-022-04992-8: range, pulses, and relaxation (their "
        "polynomial of the spread after a day, growing with ln t). The law of a pulse, its noise and the spread from "
        "cell to cell are assumptions, their dose such that the published write-verify takes its 8.5 pulses.",
        g_min=1e-6,
        g_max=4e-5,
        set=law,
        reset=law,
        driver=Driver(set_min=1.2, set_max=3.3, reset_min=1.2, reset_max=3.3, width_min=1e-6, width_max=1e-6),
        mismatch=Mismatch(rate=0.5, threshold=0.1, x_hi=0.08),
        read=Read(noise=0.004),
        retention=Retention(
            early=1e-6,
            late=86400.0,
            sigma_late=(0.701 / 40, 22.086 / 40, -50.773 / 40, 47.095 / 40, -16.458 / 40),
        ),
        uncertainty=Uncertainty(
            parameters=unknown,
            deviations=(0.5, 0.5, 0.5, 0.5, 0.1, 0.1),
            assumed=(
                *(f"{way}.{name}" for way in ("set", "reset") for name in laws),
                *("mismatch.rate", "mismatch.threshold", "mismatch.x_hi", "read.noise"),
            ),
        ),
    )


def _fitted(name: str) -> Callable[[], Device]:
    """A record that `memenv fit` wrote, shipped with the package; its source field holds provenance and misfit."""

    def load() -> Device:
        return from_json((resources.files("memenv.devices") / "fitted" / f"{name}.json").read_text(encoding="utf-8"))

    return load


def _table(name: str, source: str = JERRY, **numbers: Any) -> Callable[[], Device]:
    return lambda: _labelled(name, source, **numbers)


SECOND_HAND = "Second-hand: as tabulated in MELISO, ICONS 2024; on-resistance and pulses are assumptions."

PRESETS: dict[str, Callable[[], Device]] = {
    "ideal": ideal,
    "ag-asi": _table(
        "ag-asi", pulses=97, labels=(2.40, -4.88), r_on=26e6, on_off=12.5, up=(3.2, 3e-4), down=(2.8, 3e-4), noise=0.035
    ),
    "taox-tio2": _table(
        "taox-tio2",
        pulses=102,
        labels=(0.66, -0.69),
        r_on=5e6,
        on_off=2.0,
        up=(3.0, 4e-2),
        down=(3.0, 1e-2),
        noise=0.01,
    ),
    "pcmo": _table(
        "pcmo", pulses=50, labels=(3.68, -6.76), r_on=23e6, on_off=6.84, up=(2.0, 1e-3), down=(2.0, 1e-3), noise=0.01
    ),
    "alox-hfo2": _table(
        "alox-hfo2",
        pulses=40,
        labels=(1.94, -0.61),
        r_on=16.9e3,
        on_off=4.43,
        up=(0.9, 1e-4),
        down=(1.0, 1e-4),
        noise=0.05,
    ),
    "fefet": _table(
        "fefet",
        pulses=32,
        labels=(1.75, 1.46),
        r_on=559e3,
        on_off=45.0,
        up=(3.65, 7.5e-8),
        down=(2.95, 7.5e-8),
        noise=0.005,
    ),
    "epiram": _table(
        "epiram",
        SECOND_HAND,
        pulses=64,
        labels=(0.5, -0.5),
        r_on=81e3,
        on_off=50.2,
        up=(5.0, 5e-6),
        down=(3.0, 5e-6),
        noise=0.02,
    ),
    "taox-hfox": _table(
        "taox-hfox",
        SECOND_HAND,
        pulses=128,
        labels=(0.04, -0.63),
        r_on=1e5,
        on_off=10.0,
        up=(1.6, 5e-8),
        down=(1.6, 5e-8),
        noise=0.037,
    ),
    "hfo2-array-om": lambda: _array_fit(
        "hfo2-array-om",
        "ReRamArrayOM (optimised material)",
        dw_min=0.0949,
        rate=0.7829,
        c2c=0.4158,
        write=1.4113,
        w_min=0.5695,
        w_max=0.3499,
        corrupt=0.1348,
    ),
    "hfo2-array-baseline": lambda: _array_fit(
        "hfo2-array-baseline",
        "ReRamArrayHfO2 (baseline HfO2)",
        dw_min=0.4622,
        rate=0.7125,
        c2c=0.2174,
        write=0.5841,
        w_min=0.5990,
        w_max=0.4295,
        corrupt=0.0977,
    ),
    "hfo2-neurram": neurram,
    "pcm": pcm,
    "enode-sandia": _fitted("enode-sandia"),
    "taox-sandia": _fitted("taox-sandia"),
    "crosssim-sandia": _fitted("crosssim-sandia"),
    "threshold": threshold,
}

GATED = {"hfo2-radar": _fitted("hfo2-radar")}  # behind a transistor, on which nothing that is shipped was trained

PHYSICS = {  # module and class, loaded when they are asked for
    f"physics/{name}": (f"memenv.devices.physics.{module}", kind)
    for name, module, kind in (
        ("vteam", "vteam", "Vteam"),
        ("sky130", "sky130", "Sky130"),
        ("jart", "jart", "JartVcm"),
        ("pcm", "pcm", "PcmWithMemory"),
        ("self-accelerating", "self_accelerating", "SelfAccelerating"),
        ("nili", "nili", "Nili"),
    )
}
