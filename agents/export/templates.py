"""The C that does not depend on the policy; `$names` are filled in."""

from string import Template

HEADER = Template("""\
/* $what for $device

   $command

   $about

   C99 with math.h, without allocation and without state but for the memenv_cell that it is handed, which begins with
   zeros, and again with zeros for another target; `program` in main.c is the loop around it. Networks are in single
   precision. So is the rest with -DMEMENV_REAL=float; the law of a device then loses digits where an exponent
   of its record is near 1: see by the test vector what that costs. */
#ifndef MEMENV_POLICY_H
#define MEMENV_POLICY_H

#ifndef MEMENV_REAL
#define MEMENV_REAL double
#endif
typedef MEMENV_REAL memenv_real;

#define MEMENV_G_MIN $g_min /* [S] the least conductance of the range */
#define MEMENV_SPAN $span /* [S] from there to the largest */
#define MEMENV_TOLERANCE $tolerance /* of the range */
#define MEMENV_MAX_PULSES $max_pulses
#define MEMENV_MEMORY $memory
#define MEMENV_HIDDEN $hidden

typedef struct {
    memenv_real memory[MEMENV_MEMORY]; /* knowledge of the cell */
    float hidden[MEMENV_HIDDEN];       /* memory of the network */
    memenv_real read;                  /* [range] the last one */
    memenv_real amplitude, width;      /* [V], signed, and [s] of the last pulse */
    int pulses;
} memenv_cell;

typedef struct {
    memenv_real amplitude; /* [V], positive SETs */
    memenv_real width;     /* [s] */
    int give_up;           /* no pulse: the cell is given up */
} memenv_pulse;

/* The next pulse, from a conductance that was read and the one that is wanted [S]. */
memenv_pulse memenv_decide(memenv_cell *cell, memenv_real conductance, memenv_real goal);

/* Whether a conductance that was read is within the tolerance of the one that is wanted [S]. */
int memenv_accepted(memenv_real conductance, memenv_real goal);

#endif
""")

NUMBERS = """\
#include <math.h>
#include <string.h>

typedef memenv_real real;
#define R(number) ((real)number)

/* Not by tgmath.h, which asks for complex functions that libraries of controllers, such as newlib, do not have. */
#define OF_REAL(name) \\
    static inline real of_##name(real x) \\
    { return sizeof(real) == sizeof(float) ? (real)name##f((float)x) : (real)name((double)x); }
OF_REAL(exp) OF_REAL(expm1) OF_REAL(fabs) OF_REAL(floor) OF_REAL(log) OF_REAL(log1p) OF_REAL(sqrt) OF_REAL(tanh)

static inline real pick(int where, real high, real low) { return where ? high : low; }
"""

SOURCE = Template("""\
/* See policy.h. Written from the policy's own text by memenv export: change that, not this. */
#include "policy.h"

#include <stdint.h>

$numbers$network
int memenv_accepted(memenv_real conductance, memenv_real goal)
{
    return of_fabs(conductance - goal) <= R(MEMENV_TOLERANCE) * R(MEMENV_SPAN);
}

memenv_pulse memenv_decide(memenv_cell *cell, memenv_real conductance, memenv_real goal)
{
    const real target = (goal - R(MEMENV_G_MIN)) / R(MEMENV_SPAN);
    const real seen = (conductance - R(MEMENV_G_MIN)) / R(MEMENV_SPAN);
    const real read = seen < R($lowest) ? R($lowest) : seen > R($highest) ? R($highest) : seen;
    memenv_pulse pulse;
    if (!cell->pulses) {
        $begin
    }
    const real *const memory = cell->memory;
    $body
    cell->read = read;
    if (!pulse.give_up) {
        cell->amplitude = pulse.amplitude;
        cell->width = pulse.width;
        cell->pulses++;
    }
    return pulse;
}
""")

FLOATS = """\
typedef float stored; /* a row of weights for each output */

static float weight(const stored *w, int bits, int i)
{
    (void)bits;
    return w[i];
}
"""

PACKED = """\
typedef uint8_t stored; /* a row of weights for each output, `bits` each, the lowest bits first */

static float weight(const stored *w, int bits, int i)
{
    const int32_t at = (int32_t)i * bits, two = w[at / 8] | (int32_t)w[at / 8 + 1] << 8;
    return (float)((two >> at % 8 & ((1 << bits) - 1)) - (1 << (bits - 1)));
}
"""

NETWORK = Template("""
$weight
$arrays
static void layer(const stored *w, int bits, float scale, const float *x, int n, float *y, int m)
{
    for (int i = 0; i < m; i++) {
        const int row = i * (n + 1);
        float sum = weight(w, bits, row + n); /* the bias */
        for (int j = 0; j < n; j++)
            sum += weight(w, bits, row + j) * x[j];
        y[i] = scale * sum;
    }
}

static void network(const float *features, float *hidden, float *outputs)
{
    enum { H = MEMENV_HIDDEN };
    float joined[2 * H], gates[2 * H], new[H];
    layer(w_in, n_in, s_in, features, $features, joined, H);
    for (int i = 0; i < H; i++) {
        joined[i] = tanhf(joined[i]);
        joined[H + i] = hidden[i];
    }
    if ($recurrent) {
        layer(w_gates, n_gates, s_gates, joined, 2 * H, gates, 2 * H);
        for (int i = 0; i < 2 * H; i++)
            gates[i] = 1.0f / (1.0f + expf(-gates[i]));
        for (int i = 0; i < H; i++)
            joined[H + i] = gates[H + i] * hidden[i];
        layer(w_new, n_new, s_new, joined, 2 * H, new, H);
        for (int i = 0; i < H; i++)
            joined[H + i] = hidden[i] += gates[i] * (tanhf(new[i]) - hidden[i]);
    }
    layer(w_mix, n_mix, s_mix, joined, 2 * H, new, H);
    for (int i = 0; i < H; i++)
        new[i] = tanhf(new[i]);
    layer(w_out, n_out, s_out, new, H, outputs, $outputs);
}
""")

MAIN = Template("""\
/* Without arguments: the test vector, then a simulated cell is programmed. With `-`: decides for lines
   `cell read target` of standard input. With a number: the test vector as often, and how long a decision takes. */
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vector.h"

enum { STEPS = sizeof vector_cell / sizeof *vector_cell };

$numbers
/* A stand-in, no cell of yours: that of the record, without noise, of whose widths $weak count. */
static real pulsed(real x, real amplitude, real width)
{
    $pulse
}

static memenv_pulse step(memenv_cell *cell, int i)
{
    if (!i || vector_cell[i] != vector_cell[i - 1])
        memset(cell, 0, sizeof *cell);
    return memenv_decide(cell, vector_read[i], vector_target[i]);
}

static int check(void)
{
    memenv_cell cell;
    double worst = 0;
    for (int i = 0; i < STEPS; i++) {
        const memenv_pulse pulse = step(&cell, i);
        if (pulse.give_up != vector_give_up[i])
            worst = INFINITY;
        if (!pulse.give_up)
            worst = fmax(worst, fmax(fabs(pulse.amplitude / vector_amplitude[i] - 1),
                                       fabs(pulse.width / vector_width[i] - 1)));
    }
    printf("test vector: %d steps, largest relative difference %.2g\\n", STEPS, worst);
    return worst <= 1e-3;
}

static void program(real x, real goal)
{
    const real span = R(MEMENV_SPAN), low = R(MEMENV_G_MIN), target = low + goal * span;
    memenv_cell cell = {0};
    real read = low + x * span;
    while (!memenv_accepted(read, target) && cell.pulses < MEMENV_MAX_PULSES) {
        const memenv_pulse pulse = memenv_decide(&cell, read, target);
        if (pulse.give_up)
            break;
        x = pulsed(x, pulse.amplitude, pulse.width);
        read = low + x * span;
        printf("  %+.3f V, %.3g s: %.4g S\\n", (double)pulse.amplitude, (double)pulse.width, (double)read);
    }
    const char *end = memenv_accepted(read, target) ? "accepted" : "failed";
    printf("to %.4g S: %s after %d pulses\\n", (double)target, end, cell.pulses);
}

static void answer(void)
{
    memenv_cell cell = {0};
    int number, last = -1;
    double read, target;
    while (scanf("%d %lf %lf", &number, &read, &target) == 3) {
        if (number != last)
            memset(&cell, 0, sizeof cell);
        last = number;
        const memenv_pulse pulse = memenv_decide(&cell, read, target);
        printf("%d %.12g %.12g %d\\n", number, (double)pulse.amplitude, (double)pulse.width, pulse.give_up);
    }
}

int main(int count, char **words)
{
    if (count > 1 && !strcmp(words[1], "-")) {
        answer();
        return 0;
    }
    if (count > 1) {
        const int times = atoi(words[1]);
        memenv_cell cell;
        volatile real sum = 0;
        const clock_t began = clock();
        for (int time = 0; time < times; time++)
            for (int i = 0; i < STEPS; i++)
                sum += step(&cell, i).amplitude;
        printf("%.4g us a pulse\\n", (double)(clock() - began) / CLOCKS_PER_SEC / times / STEPS * 1e6);
        return 0;
    }
    if (!check())
        return 1;
    program(R(0.2), R(0.7));
    program(R(0.8), R(0.3));
    return 0;
}
""")
