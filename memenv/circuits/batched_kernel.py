"""The compiled loop of `memenv.circuits.batched`: one array, GROUP inputs side by side in the innermost axis.

Only numba runs this text (memenv.compiler.cache). Lines are loaded once for all inputs of a group, and processors take
these as vectors. Fields between cells are kept in single precision, which halves what goes through memory; all sums are
in double. The functions of a line are compiled apart, for only arguments are promised not to overlap.
"""

import numpy as np

from memenv.compiler.jit import loop

GROUP = 32  # inputs: the fields of one row then fill the nearest cache
SIGNATURE = (
    "void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], "
    "float64[:, ::1], float64[:, ::1], float64, float64, int64, "
    "float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1], "
    "float64[:, :, ::1], float64[:, ::1], float64[:, ::1], float64[::1], int64[::1])"
)


@loop(cache=False)
def _row_voltage(g, weight, square, rows, cols, w, sums, flow):  # type: ignore[no-untyped-def]
    """The sums whose running sum along the row, times `weight`, is its sag: flow (cols, GROUP)."""
    sums[:] = 0.0
    for back in range(g.size):
        j = np.uint64(g.size - 1 - back)
        into, through = weight[j] * g[j], square[j]
        for k in range(GROUP):
            sums[k] += into * (rows[k] - cols[j, k] - w[j, k])
            flow[j, k] = through * sums[k]
    sums[:] = 0.0


@loop(cache=False)
def _down(g, weight, weight_c, square_c, rows, cols, flow, sums, current, field):  # type: ignore[no-untyped-def]
    """Solves a row, and adds what its cells carry to the currents of the columns on the way to their terminals."""
    for j in range(g.size):
        own, into, through = weight[j], weight_c[j] * g[j], square_c[j]
        for k in range(GROUP):
            sums[k] += flow[j, k]
            current[j, k] += into * (rows[k] - cols[j, k] - own * sums[k])
            field[j, k] = through * current[j, k]


@loop(cache=False)
def _up(g, weight_c, field, w, before, voltage, defect, gamma, omega):  # type: ignore[no-untyped-def]
    """Solves the columns as far as a row, and takes Chebyshev's step there."""
    for j in range(g.size):
        own, cell = weight_c[j], g[j]
        for k in range(GROUP):
            voltage[j, k] += field[j, k]
            now, last = w[j, k], before[j, k]
            step = own * voltage[j, k] - now
            defect[k] += cell * step * step
            before[j, k] = last + omega * (gamma * step + now - last)


@loop(cache=False)
def _drops(g, weight, resistance, rows, cols, w, flow, sums, current, field, into):  # type: ignore[no-untyped-def]
    """The drops on the cells of a row, in place of `flow`, and the wires' sags that their currents make."""
    for j in range(g.size):
        own, cell, wire = weight[j], g[j], resistance[j]
        for k in range(GROUP):
            sums[k] += flow[j, k]
            drop = rows[k] - cols[j, k] - own * sums[k] - w[j, k]
            flow[j, k] = drop
            into[k] += cell * drop
            current[j, k] += cell * drop
            field[j, k] = wire * current[j, k]


@loop(cache=False)
def _check(g, field, w, voltage, defect):  # type: ignore[no-untyped-def]
    """Distance of the columns from Kirchhoff's laws at a row; the rows obey them."""
    for j in range(g.size):
        cell = g[j]
        for k in range(GROUP):
            voltage[j, k] += field[j, k]
            off = w[j, k] - voltage[j, k]
            defect[k] += cell * off * off


@loop(cache=False)
def _power(g, rows, cols, power):  # type: ignore[no-untyped-def]
    """Adds what the cells of a row would take if wires had no resistance."""
    for j in range(g.size):
        for k in range(GROUP):
            ideal = rows[k] - cols[j, k]
            power[k] += g[j] * ideal * ideal


@loop(cache=False)
def _turn(flow, drop):  # type: ignore[no-untyped-def]
    """(cols, GROUP) as (GROUP, cols)."""
    for k in range(drop.shape[0]):
        for j in range(drop.shape[1]):
            drop[k, j] = flow[j, k]


@loop(cache=False)
def cells(  # type: ignore[no-untyped-def]
    g,  # (rows, cols) [S], as the five that follow
    weight,  # of the rows, see memenv.circuits.ladders.Ladder
    square,
    weight_c,  # of the columns
    square_c,
    resistance,  # [ohm] of the columns
    rows,  # (rows, GROUP) [V] at the terminals
    cols,  # (cols, GROUP) [V]
    rho,  # bound on the eigenvalues of a sweep
    tolerance,  # largest residual of a converged solution
    most,  # sweeps
    w,  # (rows, cols, GROUP) [V] sag of the columns, of any content as the two that follow
    before,  # that of the sweep before
    field,  # running sums on the way to the terminals
    drops,  # (inputs <= GROUP, rows, cols) [V] to be filled, as those that follow
    into,  # (rows, GROUP) [A] from the row terminals
    out_of,  # (cols, GROUP) [A] into the column terminals
    residual,  # (GROUP,) of the drops, see memenv.circuits.network.Network.residual
    sweeps,  # (1,) that were taken
):
    """Alternate between rows and columns, until the drops obey Kirchhoff's laws or there have been enough sweeps."""
    height, width = g.shape
    w[:], before[:] = 0.0, 0.0
    flow, line_sums, sums = np.empty((width, GROUP)), np.empty((width, GROUP)), np.empty(GROUP)
    sigma, gamma, omega = rho / (2.0 - rho), 2.0 / (2.0 - rho), 1.0
    rate = sigma / (1.0 + np.sqrt(1.0 - sigma * sigma))
    ahead = 1.0 / max(rate, 1e-3) ** 2  # of the last sweep's step, unseen when it is decided to stop
    defect, power = np.empty(GROUP), np.zeros(GROUP)
    for i in range(height):
        _power(g[i], rows[i], cols, power)
    for k in range(GROUP):
        power[k] *= tolerance * tolerance
    count = 0
    while True:
        near = False
        while not near and count < most:
            line_sums[:] = 0.0
            for i in range(height):
                _row_voltage(g[i], weight[i], square[i], rows[i], cols, w[i], sums, flow)
                _down(g[i], weight[i], weight_c[i], square_c[i], rows[i], cols, flow, sums, line_sums, field[i])
            line_sums[:] = 0.0
            defect[:] = 0.0
            for i in range(height - 1, -1, -1):
                _up(g[i], weight_c[i], field[i], w[i], before[i], line_sums, defect, gamma, omega)
            w, before = before, w
            count += 1
            omega = 1.0 / (1.0 - sigma * sigma * omega / (2.0 if count == 1 else 4.0))
            near = True
            for k in range(GROUP):
                near = near and not defect[k] > ahead * power[k]
        line_sums[:] = 0.0
        into[:] = 0.0
        for i in range(height):
            _row_voltage(g[i], weight[i], square[i], rows[i], cols, w[i], sums, flow)
            _drops(g[i], weight[i], resistance[i], rows[i], cols, w[i], flow, sums, line_sums, field[i], into[i])
            _turn(flow, drops[:, i])
        out_of[:] = line_sums
        line_sums[:] = 0.0
        defect[:] = 0.0
        for i in range(height - 1, -1, -1):
            _check(g[i], field[i], w[i], line_sums, defect)
        done = True
        for k in range(GROUP):
            done = done and not defect[k] > power[k]
        if done or count >= most:
            break
        ahead *= 0.01
    for k in range(GROUP):
        residual[k] = np.sqrt(defect[k] / power[k]) * tolerance if power[k] > 0.0 else np.sqrt(defect[k])
    sweeps[0] = count
