/* The scan of one cell in C: one sequence through time, forward and back.

   This text is a template. Where it says `#include "cell"` the equations of the cell are put, one C line for each; most
   of it stands twice in what is compiled, for `real` float and double. A scan sees rows, as the torch engine does: `pre`
   holds the first step's rows, then the second's, ...; at each step the first n rows move, the others wait.

   Letters: B rows of the largest step, N of all steps, H units, R width of the emitted state (H without a projection),
   V units in a vector, PRE pre-activations, of which the first SPLIT are not reached by the hidden product. Of a product,
   K terms of a sum, R rows and C vectors of columns.

   The weights are arranged in panels: the columns of one vector of units, or of some, for all gates, term by term; for
   few rows in all they stay as they lie. A tile, some rows times a panel, holds its sums in registers through all K terms;
   the equations then take them from the cache nearest to the core. Threads stay for the whole sequence. */

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define REGISTERS 32
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define REGISTERS 16
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define REGISTERS 32
#else
#define VECTOR_BYTES 16
#define REGISTERS 16
#endif

#if defined(__AVX512F__) && defined(__has_builtin)
#if __has_builtin(__builtin_ia32_loadups512_mask)
#define HAS_MASKS
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) /* compiled once, wherever it is called */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)") /* by "unroll" alone clang 14 and 16 unroll no tile */
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define ZIP(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define ZIP(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif
/* Of what several rows take from memory a compiler may make a load for each, and loads are what a small tile waits for. */
#if defined(__SSE__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x)
#endif
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum { ONE_THREAD, ROWS_ALONE, PANELS }; /* how a step's work is divided: all to one, rows to each, panels to each */

/* Numbers below the smallest normal one take a slow road through the processor: they are zero for as long as we run. */
#if defined(__SSE__)
INLINE uint64_t flush_denormals(void)
{
    uint64_t before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);
    return before;
}
INLINE void restore_denormals(uint64_t before) { __builtin_ia32_ldmxcsr(before); }
#elif defined(__aarch64__)
INLINE void restore_denormals(uint64_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
INLINE uint64_t flush_denormals(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    restore_denormals(before | (1 << 24));
    return before;
}
#else
INLINE uint64_t flush_denormals(void) { return 0; }
INLINE void restore_denormals(uint64_t before) { (void)before; }
#endif

INLINE void pause_a_little(void)
{
#if defined(__SSE__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The OpenMP that torch has loaded, by address, and so many threads. */
struct crew {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned); /* GOMP_parallel */
    int (*thread_num)(void), (*num_threads)(void);
    int64_t threads;
};

#if defined(__linux__)
static void sleep_while(int32_t *at, int32_t value) { syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void wake_all(int32_t *at) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }
#else
static void sleep_while(int32_t *at, int32_t value) { (void)at, (void)value, sched_yield(); }
static void wake_all(int32_t *at) { (void)at; }
#endif

struct team { /* where the threads of a call meet */
    _Alignas(64) int32_t arrived;
    _Alignas(64) int32_t turn;
    int32_t asleep;
};

/* Wait until all of the team are here: some microseconds at work, then asleep, so that whoever needs the core has it. */
static void meet(struct team *team, int64_t size)
{
    if (size == 1)
        return;
    int32_t turn = __atomic_load_n(&team->turn, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->turn, turn + 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&team->asleep, __ATOMIC_SEQ_CST))
            wake_all(&team->turn);
        return;
    }
    for (int tries = 0; tries < 1000; tries++, pause_a_little())
        if (__atomic_load_n(&team->turn, __ATOMIC_ACQUIRE) != turn)
            return;
    __atomic_add_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&team->turn, __ATOMIC_SEQ_CST) == turn)
        sleep_while(&team->turn, turn);
    __atomic_sub_fetch(&team->asleep, 1, __ATOMIC_SEQ_CST);
}

/* ---- what follows stands twice, for `real` float and double */

/* ------------------------------------------------------------------------------------------------ vectors of units */

#define V (VECTOR_BYTES / REAL_BYTES)
#if V == 16
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif V == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif V == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#else
#define ZIP_LOW 0, 2
#define ZIP_HIGH 1, 3
#endif

#if REAL_BYTES == 4
#define whole int32_t
#define MASKED_(kind) __builtin_ia32_##kind##ups512_mask
#else
#define whole int64_t
#define MASKED_(kind) __builtin_ia32_##kind##upd512_mask
#endif
#ifdef HAS_MASKS /* a vector's tail by one instruction, for which vector extensions have no words */
#define MASKED MASKED_
#endif
typedef real vec __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef whole ints __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef real loose __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias)); /* wherever it lies */

INLINE vec splat(real x) { return x - (vec){0}; }

INLINE vec load(const real *from) { return *(const loose *)from; }

INLINE void store(real *to, vec x) { *(loose *)to = x; }

INLINE vec load_part(const real *from, int64_t n) /* the first n, then zeros */
{
#ifdef MASKED
    return MASKED(load)(from, (vec){0}, (1u << MIN(n, V)) - 1);
#else
    if (n >= V)
        return load(from);
    vec x = {0};
    for (int64_t i = 0; i < n; i++)
        x[i] = from[i];
    return x;
#endif
}

INLINE void store_part(real *to, vec x, int64_t n)
{
#ifdef MASKED
    MASKED(store)(to, x, (1u << MIN(n, V)) - 1);
#else
    if (n >= V)
        store(to, x);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = x[i];
#endif
}

/* What the functions of the equations are made of: e^x = 2^n e^r with |r| <= ln 2 / 2, and the series of e^r and log. */
#define EITHER(of_float, of_double) ((real)(REAL_BYTES == 4 ? (of_float) : (of_double)))
#define EXPONENT_BIAS (REAL_BYTES == 4 ? 127 : 1023)
#define MANTISSA_BITS (REAL_BYTES == 4 ? 23 : 52)
#define EPSILON EITHER(0x1p-23, 0x1p-52)
#define SMALLEST_NORMAL EITHER(0x1p-126, 0x1p-1022)
#define ROUNDING EITHER(0x1.8p23, 0x1.8p52) /* added and taken away, it leaves a whole number */
#define ONE_OVER_LN2 (real)1.44269504088896341
#define LN2_HIGH EITHER(0.693359375, 0.693145751953125) /* so few digits that its multiples are exact */
#define LN2_LOW EITHER(-2.12194440054690583e-4, 1.42860682030941723212e-6)
#define SQRT_HALF (real)0.707106781186547524
#define EXP_LEAST EITHER(-104, -746) /* below it e^x is 0, */
#define EXP_MOST EITHER(89, 710)     /* above it infinite, */
#define EXP_NORMAL EITHER(88, 709)   /* and up to here a normal number */
#define TANH_FLAT EITHER(10, 22)     /* from here on tanh is 1 */
#define EXP_TERMS (REAL_BYTES == 4 ? 7 : 13)
#define LOG_TERMS (REAL_BYTES == 4 ? 5 : 11)

INLINE vec exp_series(vec r) /* 1/2! + r/3! + r^2/4! + ... */
{
    static const real over_factorial[] = {1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320,
        1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
    vec sum = splat(over_factorial[EXP_TERMS]);
    UNROLL for (int k = EXP_TERMS - 1; k >= 2; k--)
        sum = sum * r + over_factorial[k];
    return sum;
}

INLINE vec log_series(vec s2) /* artanh(s) / s = 1 + s^2/3 + s^4/5 + ... */
{
    vec sum = splat((real)1 / (2 * LOG_TERMS + 1));
    UNROLL for (int k = LOG_TERMS - 1; k >= 0; k--)
        sum = sum * s2 + (real)1 / (2 * k + 1);
    return sum;
}

INLINE vec where(ints yes, vec a, vec b) { return (vec)((yes & (ints)a) | (~yes & (ints)b)); }

INLINE vec clamp(vec x, vec min, vec max) /* of nan it is nan, as torch's */
{
    x = where((x < min) | (min != min), min, x);
    return where((x > max) | (max != max), max, x);
}

INLINE vec within(vec x, real min, real max) /* clamp by constants */
{
    x = where(x < min, splat(min), x);
    return where(x > max, splat(max), x);
}

INLINE vec power_of_two(ints n) { return (vec)((n + EXPONENT_BIAS) << MANTISSA_BITS); }

INLINE vec without_ln2(vec x, ints *n) /* r, with x = n ln 2 + r */
{
    vec k = x * ONE_OVER_LN2 + ROUNDING;
    *n = (ints)k - (ints)splat(ROUNDING);
    k -= ROUNDING;
    return x - k * LN2_HIGH - k * LN2_LOW;
}

INLINE vec expm1_near_0(vec r) { return r + r * r * exp_series(r); }

/* ------------------------------------------------------------------------------------------------ the cell's equations

   The cell says: GATES, those with a hidden product; SPLIT of them stand apart, PRE = SPLIT + GATES; STATES; INPUT_GATES
   and HIDDEN_GATES, which gate of the weights is in each block of `pre` that a product reaches, NULL for as they are; and
   gives update(pre, prev, number, next) and adjoint(pre, prev, number, arriving, d_pre, d_prev, emitted). */

#include "cell"

/* ------------------------------------------------------------------------------------------------ panels and tiles */

#define WIDE (REGISTERS == 32 ? 4 : 2)                     /* vectors in a panel without gates */
#define UNITS (GATES >= WIDE ? 1 : WIDE / GATES)           /* vectors of units in a panel of gates */
#define COLUMNS (GATES * UNITS)                            /* vectors in it */
#define ROWS_OF(C) MAX(1, MIN(8, (REGISTERS - (C) - 2) / (C))) /* so many rows of sums leave room for a term of the panel */
#define SUM 128   /* terms of one sum: of longer ones partial sums are added, which lose less to rounding */
#define AHEAD 16  /* terms of a panel that are fetched before their turn, by a tile that has time to spare: a full one */
#define RUN 64    /* of one sum of a gradient outside the loop, which lose the most: the signs of their terms differ */

/* The weights of a product, in panels or as they lie. */
struct weights {
    const real *W;
    int64_t stride;         /* of its rows */
    real *panels;           /* NULL: as they lie */
    int64_t outputs, terms; /* outputs of one gate */
    int64_t size, count;    /* of a panel, and of panels */
    const int *gates;       /* which gates its blocks of H rows are, or NULL */
    int64_t H;
};
#define PANELS_OF(outputs, vectors) (((outputs) + (vectors) * V - 1) / ((vectors) * V))

/* Of y = W x for all gates, W [GATES * H, terms]. */
INLINE struct weights of_gates(const real *W, int64_t terms, real *panels, const int *gates, int64_t H)
{
    return (struct weights){W, terms, panels, H, terms, COLUMNS * V * terms, PANELS_OF(H, UNITS), gates, H};
}

/* Of so many outputs: y = x W, W [terms, outputs], of which the rows may be gates', or y = W x, W [outputs, terms]. */
INLINE struct weights wide(const real *W, int64_t stride, int64_t outputs, int64_t terms, real *panels, const int *gates,
                           int64_t H)
{
    return (struct weights){W, stride, panels, outputs, terms, WIDE * V * terms, PANELS_OF(outputs, WIDE), gates, H};
}

/* Where in the weights the k-th row of the blocks of `pre` lies. */
INLINE int64_t row_of(const int *gates, int64_t H, int64_t k) { return gates ? gates[k / H] * H + k % H : k; }

/* V vectors as the rows of a square become its columns: each round deals two halves like a pack of cards. */
INLINE void transpose(vec *x)
{
    vec y[V];
    UNROLL for (int step = 1; step < V; step *= 2) {
        UNROLL for (int i = 0; i < V / 2; i++) {
            y[2 * i] = ZIP(x[i], x[i + V / 2], ZIP_LOW);
            y[2 * i + 1] = ZIP(x[i], x[i + V / 2], ZIP_HIGH);
        }
        UNROLL for (int i = 0; i < V; i++)
            x[i] = y[i];
    }
}

/* W [gates * outputs, terms]: a panel holds for each term, for each vector of outputs, of each gate the V weights. */
APART void pack_rows(const struct weights *w, int gates, int units, int64_t panel)
{
    real *to = w->panels + panel * w->size;
    const int columns = gates * units;
    for (int u = 0; u < units; u++)
        for (int g = 0; g < gates; g++) {
            int64_t first = (panel * units + u) * V;
            const real *from = w->W + ((w->gates ? w->gates[g] : g) * w->outputs + first) * w->stride;
            for (int64_t k = 0; k < w->terms; k += V) {
                int64_t n = MIN(V, w->terms - k);
                vec x[V];
                UNROLL for (int i = 0; i < V; i++) {
                    x[i] = first + i < w->outputs ? load_part(from + i * w->stride + k, n) : splat(0);
                    __builtin_prefetch(from + i * w->stride + k + 4 * V);
                }
                transpose(x);
                for (int i = 0; i < n; i++)
                    store(to + ((k + i) * columns + u * gates + g) * V, x[i]);
            }
        }
}

/* So many numbers of a row, the last vector and those behind it filled with zeros; the row after some more is fetched. */
INLINE void copy_row(const real *from, int64_t n, int64_t stride, real *to, int64_t vectors)
{
    for (int64_t c = 0; c < vectors; c++) {
        store(to + c * V, load_part(from + MIN(c * V, n), MAX(0, n - c * V)));
        __builtin_prefetch(from + 8 * stride + c * V);
    }
}

/* W [terms, outputs]: a panel holds WIDE vectors of each row. */
APART void pack_columns(const struct weights *w, int64_t panel)
{
    int64_t first = panel * WIDE * V;
    for (int64_t k = 0; k < w->terms; k++)
        copy_row(w->W + row_of(w->gates, w->H, k) * w->stride + first, w->outputs - first, w->stride,
                 w->panels + panel * w->size + k * WIDE * V, WIDE);
}

/* sum[r, c] = the sum over K terms of x[r, k] * panel[k, c], for R rows and C vectors of columns. From row to row of x it
   is `stride` numbers, from term to term `step`.

   It is called with constants for R, C and chains, so that the sums stay in registers. One row alone has several chains
   of every so manieth term, or each multiplication would wait for the one before; how rows fall into tiles should not
   show in the last bits, so that more rows have one. */
INLINE void product(const int R, const int C, const int chains, const real *x, int64_t stride, int64_t step,
                    int64_t K, int64_t run, const real *panel, vec *sum)
{
    UNROLL for (int i = 0; i < R * C; i++)
        sum[i] = splat(0);
    for (int64_t k = 0; k < K;) {
        int64_t end = MIN(k + run, K);
        vec part[4][8][MAX(WIDE, COLUMNS)];
        UNROLL for (int j = 0; j < chains; j++)
            UNROLL for (int i = 0; i < R * C; i++)
                part[j][i / C][i % C] = splat(0);
        for (; k + chains <= end; k += chains, panel += chains * C * V)
            UNROLL for (int j = 0; j < chains; j++) {
                vec w[MAX(WIDE, COLUMNS)];
                UNROLL for (int c = 0; c < C; c++) {
                    w[c] = load(panel + (j * C + c) * V);
                    if (R > 1)
                        IN_REGISTER(w[c]);
                    if (R == ROWS_OF(C))
                        __builtin_prefetch(panel + (AHEAD * C + c) * V);
                }
                UNROLL for (int r = 0; r < R; r++)
                    UNROLL for (int c = 0; c < C; c++)
                        part[j][r][c] += x[r * stride + (k + j) * step] * w[c];
            }
        for (; k < end; k++, panel += C * V) /* only of one row */
            UNROLL for (int c = 0; c < C; c++)
                part[0][0][c] += x[k * step] * load(panel + c * V);
        UNROLL for (int j = 0; j < chains; j++)
            UNROLL for (int i = 0; i < R * C; i++)
                sum[i] += part[j][i / C][i % C];
    }
}

#define TILE(R, C) case R: if (R <= ROWS_OF(C)) product(R, C, 1, x, stride, step, K, run, panel, sum); return;
#define TILES(C)                                                                                                       \
    switch (alone ? 0 : R) {                                                                                           \
        case 0: product(1, C, 4, x, stride, step, K, run, panel, sum); return;                                        \
        TILE(1, C) TILE(2, C) TILE(3, C) TILE(4, C) TILE(5, C) TILE(6, C) TILE(7, C) TILE(8, C)                        \
    }

static void times_wide(int R, int alone, const real *x, int64_t stride, int64_t step, int64_t K, int64_t run,
                       const real *panel, vec *sum)
{
    TILES(WIDE)
}

static void times_gates(int R, int alone, const real *x, int64_t stride, int64_t K, const real *panel, vec *sum)
{
    const int64_t step = 1, run = SUM;
#if COLUMNS == WIDE
    times_wide(R, alone, x, stride, step, K, run, panel, sum);
#else
    TILES(COLUMNS)
#endif
}

/* The same for one row, and V outputs of all gates, of weights as they lie: each output's terms are a row, and its sum is
   spread over a vector. */
APART void times_rows(const struct weights *w, const real *x, int64_t first, vec *sum)
{
    int64_t last = MIN(V, w->outputs - first) - 1;
    for (int g = 0; g < GATES; g++) {
        const real *from = w->W + ((w->gates ? w->gates[g] : g) * w->outputs + first) * w->stride;
        vec part[V], total = splat(0);
        UNROLL for (int i = 0; i < V; i++)
            part[i] = splat(0);
        for (int64_t k = 0; k < w->terms; k += V) {
            int64_t n = w->terms - k;
            vec some = load_part(x + k, n);
            UNROLL for (int i = 0; i < V; i++)
                part[i] += some * load_part(from + MIN(i, last) * w->stride + k, n);
        }
        transpose(part);
        UNROLL for (int i = 0; i < V; i++)
            total += part[i];
        sum[g] = total;
    }
}

/* R rows times a panel, or the weights that would be in it. */
static void times(const struct weights *w, int64_t p, int R, int alone, const real *x, int64_t stride, vec *sum)
{
    if (w->panels)
        times_gates(R, alone, x, stride, w->terms, w->panels + p * w->size, sum);
    for (int r = 0; r < R && !w->panels; r++)
        for (int u = 0; u < UNITS && (p * UNITS + u) * V < w->outputs; u++)
            times_rows(w, x + r * stride, (p * UNITS + u) * V, sum + (r * UNITS + u) * GATES);
}

/* What one thread does of some rows times all panels: a range of panels, and every groups-th of the tiles of rows. */
struct share { int64_t panel, panels_end, rows, tiles, tile, groups; };

static struct share share_of(const struct weights *w, int by_panels, int64_t rows, int64_t most, int64_t me, int64_t team)
{
    int64_t across = by_panels ? MIN(team, w->count) : 1, groups = team / across, column = me % across;
    int64_t tiles = ((rows + most - 1) / most + groups - 1) / groups * groups;
    struct share s = {w->count * column / across, w->count * (column + 1) / across, rows, tiles, me / across, groups};
    if (s.tile >= groups)
        s.tile = tiles; /* one thread too many */
    return s;
}

/* For the panels `p` of a share, from the last one if `back`, and its tiles of rows [row, end), of n rows. */
#define EACH_TILE(s, back, n)                                                                                          \
    for (int64_t p = (back) ? s.panels_end - 1 : s.panel; p >= s.panel && p < s.panels_end; p += (back) ? -1 : 1)      \
        for (int64_t i = s.tile, row, end; i < s.tiles; i += s.groups)                                                 \
            if ((row = s.rows * i / s.tiles) < (end = MIN(n, s.rows * (i + 1) / s.tiles)))

/* ------------------------------------------------------------------------------------------------ large products */

struct large { /* y [N, outputs] = x W, or y + x W */
    struct weights w;
    int64_t N;
    const real *x;
    int64_t stride, across; /* of x [N, terms], or across [terms, N] */
    real *y;
    int64_t added;
    const int *gates; /* which gates the blocks of H rows of y are, or NULL */
};
#define TERMS 512 /* so many terms of a product at a time, and so many */
#define BLOCK 96  /* rows of y, which stay in the cache while the panels pass by */

/* y = x W, for n terms from the k-th on: of the first ones, or to be added to what is there. */
APART void large_tile(const struct large *a, int64_t first, int64_t rows, const real *x, int64_t stride, int64_t step,
                      int64_t k, int64_t n, int64_t unit, const real *panel)
{
    vec sum[8 * WIDE];
    for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < WIDE; c++)
            __builtin_prefetch(a->y + row_of(a->gates, a->w.H, first + r) * a->w.outputs + unit + c * V, 1);
    times_wide(rows, 0, x, stride, step, n, RUN, panel, sum);
    for (int r = 0; r < rows; r++) {
        real *y = a->y + row_of(a->gates, a->w.H, first + r) * a->w.outputs + unit;
        UNROLL for (int c = 0; c < WIDE; c++) {
            int64_t left = MAX(0, a->w.outputs - unit - c * V);
            if (k > 0 || a->added)
                sum[r * WIDE + c] += load_part(y + c * V, left);
            store_part(y + c * V, sum[r * WIDE + c], left);
        }
    }
}

/* `fresh`: W is still to be put in panels, each as it is needed. Each thread has room for a block of x. */
static void multiply_large(const struct large *a, int fresh, real *blocks_of_x, struct team *team, int64_t me, int64_t size)
{
    struct weights w = a->w;
    struct share s = share_of(&w, !a->across && w.count >= size, 1, 1, me, size);
    int64_t blocks = (a->N + BLOCK - 1) / BLOCK, groups = s.groups, mine = s.tile;
    blocks = (blocks + groups - 1) / groups * groups;
    if (fresh && groups > 1) {
        for (int64_t p = w.count * me / size; p < w.count * (me + 1) / size; p++)
            pack_columns(&w, p);
        meet(team, size);
        fresh = 0;
    }
    for (int64_t k = 0; k == 0 || k < w.terms; k += TERMS)
        for (int64_t b = mine; b < blocks; b += groups) {
            int64_t first = a->N * b / blocks, rows = a->N * (b + 1) / blocks - first, n = MIN(TERMS, w.terms - k);
            real *block = blocks_of_x + me * BLOCK * MIN(TERMS, w.terms);
            const real *x = a->across ? block : a->x + first * a->stride + k;
            int64_t stride = a->across ? 1 : a->stride, step = a->across ? BLOCK : 1;
            int64_t tiles = (rows + ROWS_OF(WIDE) - 1) / ROWS_OF(WIDE);
            for (int64_t i = 0; a->across && i < n; i++)
                copy_row(a->x + (k + i) * a->stride + first, rows, a->stride, block + i * BLOCK, (rows + V - 1) / V);
            for (int64_t i = 0; i < s.panels_end - s.panel; i++) {
                int64_t p = b % 2 ? s.panels_end - 1 - i : s.panel + i;
                if (fresh && k == 0 && b == mine)
                    pack_columns(&w, p);
                for (int64_t t = 0; t < tiles; t++) {
                    int64_t row = rows * t / tiles, end = rows * (t + 1) / tiles;
                    large_tile(a, first + row, end - row, x + row * stride, stride, step, k, n, p * WIDE * V,
                               w.panels + p * w.size + k * WIDE * V);
                }
            }
        }
}

/* ------------------------------------------------------------------------------------------------ one scan */

struct scan { /* every field has eight bytes, as Python fills them */
    struct crew crew;
    int64_t back;     /* whether this is its way back; then `output` and `state` are gradients, and so is `given` */
    int64_t every;    /* it is cut into segments of so many steps, of which the first states are kept; 0: it is not */
    int64_t division, reverse;
    int64_t T, B, N, I, H, R;
    const int64_t *begins;               /* [T + 1], the row with which each step begins, or NULL: all are of B */
    const double *number;                /* what the equations have from outside */
    const real *x;                       /* [N, I] */
    const real *W_ih, *W_hh, *bias_ih, *bias_hh, *W_hr; /* [GATES * H, I or R], [GATES * H] or NULL, [R, H] or NULL */
    const real *given[STATES];           /* [B, .], before the first step; backward: of the last; NULL: zeros */
    real *pre;                           /* [N, PRE * H], what is kept: the input product, to which sums are added; */
    real *prev[STATES];                  /* [N, .], the states before each step. NULL: `furnish` makes room, of one chunk */
                                         /* and of one step and the next [2, B, .]. Of segments [T / every, B, .] */
    real *output;                        /* [N, R]; backward: its gradient, or NULL */
    real *state[STATES];                 /* [B, .], the last; backward: in the end those of the initial, or NULL */
    real *dx, *dW_ih, *dW_hh, *d_bias_ih, *d_bias_hh, *dW_hr; /* only backward; NULL for those that nobody needs */
    /* what is filled here */
    int64_t keep;
    int64_t at_once;                      /* the input product of all steps, before the first */
    int64_t added;                        /* whether the gradients of the weights go to what is there already */
    int64_t from, to;                     /* the steps of this call, counted as they are taken */
    int64_t first_row;                    /* where the rows of step `from` begin; backward: of step `to` */
    real *panels_ih, *panels, *panels_hr; /* the weights in panels */
    real *unprojected;                   /* forward [B, H], backward of one chunk [., H] */
    real *bias;                          /* both biases in one, [PRE * H]; NULL without */
    real *d_pre, *d_carry;               /* of one chunk, and of the step behind it [B, PRE * H] */
    real *d_emitted;                     /* of one chunk [., R], of what is projected */
    real *panels_x, *blocks;             /* rows of a chunk, and those that a thread copies */
    real *d_bias, *lost;                 /* [PRE * H], of both biases or NULL; what it has lost by rounding */
};
#define GIVEN offsetof(struct scan, keep) /* bytes that Python gives */
#define FEW 8           /* rows of all steps, for which weights are not put in panels */
#define LEAST 2e4       /* operations: in the time of so many even the smallest step is taken, */
#define FEWEST 4        /* rows: fewer wait for the weights as long as these */
#define CHUNK 128       /* rows, at least, that are multiplied at once on the way forward, */
#define CHUNK_BACK 512  /* and back: they stay in the cache until they are taken */

INLINE int64_t rows_at(const struct scan *a, int64_t k) /* of the k-th step that is taken */
{
    if (k < 0 || k >= a->T)
        return 0;
    int64_t t = a->reverse ? a->T - 1 - k : k;
    return a->begins ? a->begins[t + 1] - a->begins[t] : a->B;
}

INLINE int64_t width(const struct scan *a, int s) { return s == 0 ? a->R : a->H; }

INLINE struct weights hidden_weights(const struct scan *a, int backward)
{
    return backward ? wide(a->W_hh, a->R, a->R, GATES * a->H, a->panels, HIDDEN_GATES, a->H)
                    : of_gates(a->W_hh, a->R, a->panels, HIDDEN_GATES, a->H);
}

INLINE struct weights input_weights(const struct scan *a)
{
    return of_gates(a->W_ih, a->I, a->panels_ih, INPUT_GATES, a->H);
}

INLINE struct weights projection(const struct scan *a, int backward)
{
    return wide(a->W_hr, a->H, backward ? a->H : a->R, backward ? a->R : a->H, a->panels_hr, NULL, 0);
}

/* The next part of the room, for so many numbers: it begins with a line of the cache. */
static real *part(uintptr_t *room, int64_t numbers)
{
    real *begins = (real *)*room;
    *room += (sizeof(real) * numbers + 63) / 64 * 64;
    return begins;
}

INLINE int64_t room_of_panels(struct weights w) { return w.count * w.size; }

/* What a scan needs beside what it is given and gives: parts of one room. Where that begins at 0, its end is its size. */
static uintptr_t furnish(struct scan *a, uintptr_t room)
{
    int64_t H = a->H, wide = PRE * H, projected = a->W_hr != NULL, rows = MIN(a->N, CHUNK_BACK + a->B);
    a->keep = a->pre != NULL;
    real *d_bias = part(&room, wide); /* first: the way back of one scan adds to that of another, and runs may lie between */
    a->d_bias = a->d_bias_ih || a->d_bias_hh ? d_bias : NULL;
    a->lost = part(&room, wide);
    int lie = !a->back && a->N <= FEW && MAX(a->I, a->R) <= SUM * V; /* of SUM terms at most each sum in a vector's place */
    int64_t of_hh = room_of_panels(hidden_weights(a, a->back)), of_ih = room_of_panels(input_weights(a));
    a->at_once = !a->back && a->keep && a->division != ROWS_ALONE && a->N <= CHUNK_BACK; /* W_hh then comes where W_ih was */
    a->panels = lie ? NULL : part(&room, a->at_once ? MAX(of_ih, of_hh) : of_hh);
    a->panels_hr = part(&room, projected ? room_of_panels(projection(a, a->back)) : 0);
    a->unprojected = part(&room, projected ? (a->back ? rows : a->B) * H : 0);
    if (!a->back) {
        a->panels_ih = lie || a->at_once ? a->panels : part(&room, of_ih);
        real *bias = part(&room, wide);
        a->bias = a->bias_ih ? bias : NULL;
        if (!a->keep)
            a->pre = part(&room, MIN(a->N, CHUNK + a->B) * wide);
        for (int s = 0; s < STATES && !a->keep; s++)
            a->prev[s] = part(&room, 2 * a->B * width(a, s));
        return room;
    }
    int64_t most = MAX(a->I, MAX(a->R, H));
    a->panels_ih = part(&room, a->dx ? PANELS_OF(a->I, WIDE) * WIDE * V * GATES * H : 0);
    a->panels_x = part(&room, PANELS_OF(most, WIDE) * WIDE * V * rows);
    a->blocks = part(&room, a->crew.threads * BLOCK * MIN(TERMS, rows));
    a->d_pre = part(&room, rows * wide);
    a->d_carry = part(&room, a->B * wide);
    a->d_emitted = part(&room, projected ? rows * a->R : 0);
    for (int s = 0; s < STATES; s++) {
        real *state = part(&room, a->B * width(a, s));
        a->state[s] = a->state[s] ? a->state[s] : state;
    }
    return room;
}

static void put_given(const struct scan *a, int s, real *to)
{
    size_t bytes = sizeof(real) * a->B * width(a, s);
    if (bytes == 0 || a->given[s] == to)
        return; /* of no rows there may be no address; or it is there, where the scan before has left it */
    if (a->given[s])
        memcpy(to, a->given[s], bytes);
    else
        memset(to, 0, bytes);
}

static void pack_gates(struct weights w, int64_t me, int64_t team)
{
    for (int64_t p = w.count * me / team; p < w.count * (me + 1) / team && w.panels; p++)
        pack_rows(&w, GATES, UNITS, p);
}

/* W_hh, and W_hr if there is one. */
static void pack(const struct scan *a, int backward, int64_t me, int64_t team)
{
    struct weights hh = hidden_weights(a, backward), hr = projection(a, backward);
    for (int64_t p = hh.count * me / team; p < hh.count * (me + 1) / team && backward; p++)
        pack_columns(&hh, p);
    if (!backward)
        pack_gates(hh, me, team);
    if (hr.W)
        for (int64_t p = hr.count * me / team; p < hr.count * (me + 1) / team; p++)
            backward ? pack_columns(&hr, p) : pack_rows(&hr, 1, WIDE, p);
}

/* A step's rows as they fall to a thread. Alone with its rows it keeps them through all steps, with all panels. */
INLINE struct share step_share(const struct scan *a, const struct weights *w, int64_t n, int64_t most, int64_t me, int64_t size)
{
    int64_t team = a->division == ONE_THREAD ? 1 : size;
    return share_of(w, a->division == PANELS, a->division == ROWS_ALONE ? a->B : n, most, me, team);
}

/* ------------------------------------------------------------------------------------------------ forward */

struct moment { /* one step: its rows, and where they begin */
    int64_t n, next_n;
    real *pre, *output;
    real *prev[STATES], *next[STATES];
};

/* The new state of a row, where the next step finds it, or the caller. */
INLINE real *after(const struct scan *a, const struct moment *t, int s, int64_t row)
{
    return (row < t->next_n ? t->next[s] : a->state[s]) + row * width(a, s);
}

/* The equations for some rows and a vector of units. */
APART void take(const struct scan *a, const struct moment *t, int64_t row, int64_t end, int64_t unit, const vec *sum)
{
    const int64_t H = a->H, n = H - unit, projected = a->W_hr != NULL, keep = a->keep;
    const real *bias = a->bias;
    real *emitted = (projected ? a->unprojected : t->output) + unit;
    for (; row < end; row++, sum += COLUMNS) {
        real *at = t->pre + row * PRE * H + unit;
        vec pre[PRE], prev[STATES], next[STATES];
        UNROLL for (int p = 0; p < PRE; p++) {
            if (p < GATES)
                pre[p] = load_part(at + p * H, n);
            else /* the hidden half of a split gate has no input product */
                pre[p] = bias ? load_part(bias + p * H + unit, n) : splat(0);
            if (p >= SPLIT) {
                pre[p] += sum[p - SPLIT];
                if (keep)
                    store_part(at + p * H, pre[p], n);
            }
        }
        UNROLL for (int s = 0; s < STATES; s++)
            prev[s] = s == 0 && projected ? splat(0) : load_part(t->prev[s] + row * H + unit, n);
        update(pre, prev, a->number, next);
        UNROLL for (int s = 0; s < STATES; s++)
            if (s > 0 || !projected)
                store_part(after(a, t, s, row) + unit, next[s], n);
        store_part(emitted + row * H, next[0], n);
    }
}

APART void forward_tile(const struct scan *a, const struct weights *w, const struct moment *t, int64_t p, int64_t row, int R)
{
    vec sum[8 * COLUMNS];
    int64_t unit = p * UNITS * V;
    times(w, p, R, a->B == 1, t->prev[0] + row * w->terms, w->terms, sum);
    for (int u = 0; u < UNITS && unit < w->outputs; u++, unit += V)
        take(a, t, row, row + R, unit, sum + u * GATES);
}

APART void project_tile(const struct scan *a, const struct weights *w, const struct moment *t, int64_t p, int64_t row, int R)
{
    vec sum[8 * WIDE];
    times_wide(R, a->B == 1, a->unprojected + row * a->H, a->H, 1, a->H, SUM, w->panels + p * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE; c++) {
            int64_t unit = (p * WIDE + c) * V, n = a->R - unit;
            if (n <= 0)
                break;
            store_part(t->output + (row + r) * a->R + unit, sum[r * WIDE + c], n);
            store_part(after(a, t, 0, row + r) + unit, sum[r * WIDE + c], n);
        }
}

/* The two biases in one, and the initial state of each row where its first step looks for it. */
static void begin(const struct scan *a)
{
    for (int64_t p = 0, H = a->H; a->bias && p < PRE; p++) {
        const real *ih = p < GATES ? a->bias_ih + row_of(INPUT_GATES, H, p * H) : NULL;
        const real *hh = p < SPLIT ? NULL : a->bias_hh + row_of(HIDDEN_GATES, H, (p - SPLIT) * H);
        for (int64_t k = 0; k < H; k++)
            a->bias[p * H + k] = (ih ? ih[k] : 0) + (hh ? hh[k] : 0);
    }
    for (int s = 0; s < STATES; s++) {
        int64_t W = width(a, s), row = a->first_row;
        put_given(a, s, a->state[s]);
        for (int half = 0; !a->keep && half < 2; half++)
            put_given(a, s, a->prev[s] + half * a->B * W);
        for (int64_t k = 0, before = 0; a->keep && k < a->T; k++) {
            int64_t n = rows_at(a, k);
            if (n > before)
                memcpy(a->prev[s] + (row + before) * W, a->state[s] + before * W, sizeof(real) * (n - before) * W);
            row += a->reverse ? -rows_at(a, k + 1) : n;
            before = n;
        }
    }
}

/* W_ih x and the biases, for some rows and the units of a panel. */
APART void input_tile(const struct scan *a, const struct weights *w, const real *x, real *pre, int64_t p, int R)
{
    vec sum[8 * COLUMNS];
    for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < COLUMNS; c++)
            __builtin_prefetch(pre + (r * PRE + c % GATES) * a->H + (p * UNITS + c / GATES) * V, 1, 2);
    times(w, p, R, 0, x, a->I, sum);
    for (int u = 0; u < UNITS; u++) {
        int64_t unit = (p * UNITS + u) * V, n = MAX(0, a->H - unit);
        UNROLL for (int g = 0; g < GATES; g++) {
            vec bias = a->bias ? load_part(a->bias + g * a->H + unit, n) : splat(0);
            for (int r = 0; r < R; r++)
                store_part(pre + r * PRE * a->H + g * a->H + unit, sum[(r * UNITS + u) * GATES + g] + bias, n);
        }
    }
}

/* The input product of the steps from k on, whose first row is `offset`: of one step where a thread has rows of its own,
   else of so many that the panels are worth the way, or of all. It gives the first step behind, and the row with which
   `pre` begins. */
static int64_t multiply_input(const struct scan *a, int64_t k, int64_t offset, int64_t most, int64_t *lowest, int64_t me,
                              int64_t size)
{
    struct weights ih = input_weights(a);
    int64_t rows = 0, first = offset, enough = a->division == ROWS_ALONE ? 1 : a->at_once ? a->N : CHUNK;
    for (; k < (a->at_once ? a->T : a->to) && rows < enough; rows += rows_at(a, k++))
        first -= a->reverse && rows > 0 ? rows_at(a, k) : 0;
    *lowest = a->keep ? 0 : first;
    struct share s = step_share(a, &ih, rows, most, me, size); /* in tiles of as many rows, or they were not the thread's */
    EACH_TILE(s, 0, rows)
        input_tile(a, &ih, a->x + (first + row) * a->I, a->pre + (first - *lowest + row) * PRE * a->H, p, end - row);
    return k;
}

static void forward(const struct scan *a, struct team *team, int64_t me, int64_t size)
{
    struct weights hh = hidden_weights(a, 0), hr = projection(a, 0);
    int64_t most = a->W_hr ? MIN(ROWS_OF(COLUMNS), ROWS_OF(WIDE)) : ROWS_OF(COLUMNS);
    int64_t each_step = a->division == PANELS ? size : 1; /* so many meet */
    int64_t common = a->division == PANELS && hh.count < size ? size : 1; /* who have a panel in common */
    int64_t offset = a->first_row, ahead = a->at_once ? a->T : a->from, lowest = 0;
    if (a->from == 0) {
        pack_gates(input_weights(a), me, size);
        if (me == 0)
            begin(a);
        if (a->at_once) {
            meet(team, size);
            multiply_input(a, 0, offset, most, &lowest, me, size);
            meet(team, size);
        }
        pack(a, 0, me, size);
        meet(team, size);
    }
    for (int64_t k = a->from; k < a->to; k++) {
        int64_t n = rows_at(a, k), next_n = rows_at(a, k + 1), next = offset + (a->reverse ? -next_n : n);
        if (k == ahead) {
            ahead = multiply_input(a, k, offset, most, &lowest, me, size);
            meet(team, common);
        }
        struct moment t = {n, next_n, a->pre + (offset - lowest) * PRE * a->H, a->output + offset * a->R};
        for (int s = 0; s < STATES; s++) {
            t.prev[s] = a->prev[s] + (a->keep ? offset : k % 2 * a->B) * width(a, s);
            t.next[s] = a->prev[s] + (a->keep ? next : (k + 1) % 2 * a->B) * width(a, s);
        }
        struct share s = step_share(a, &hh, n, most, me, size);
        EACH_TILE(s, k % 2, n)
            forward_tile(a, &hh, &t, p, row, end - row);
        if (a->W_hr) {
            meet(team, each_step);
            s = step_share(a, &hr, n, most, me, size);
            EACH_TILE(s, k % 2, n)
                project_tile(a, &hr, &t, p, row, end - row);
        }
        meet(team, each_step);
        offset = next;
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

struct backstep { /* one step: its rows, those of the step after, and where they begin, of all and in the chunk */
    int64_t n, later_n, offset, in_chunk;
    real *d_pre;
    const real *d_later;
};

/* dh is complete: the lines of the adjoint, for a row of the step that made h and a vector of units. */
INLINE void pull(const struct scan *a, const struct backstep *t, int64_t row, int64_t unit, vec dh)
{
    int64_t H = a->H, n = H - unit, at = (t->offset + row) * H + unit;
    const real *kept = a->pre + (t->offset + row) * PRE * H + unit;
    real *d_kept = t->d_pre + row * PRE * H + unit;
    vec pre[PRE], prev[STATES], arriving[STATES], d_pre[PRE], d_prev[STATES], emitted;
    UNROLL for (int p = 0; p < PRE; p++)
        pre[p] = load_part(kept + p * H, n);
    UNROLL for (int s = 0; s < STATES; s++) {
        prev[s] = s == 0 && a->W_hr ? splat(0) : load_part(a->prev[s] + at, n);
        arriving[s] = s == 0 ? dh : load_part(a->state[s] + row * H + unit, n);
    }
    adjoint(pre, prev, a->number, arriving, d_pre, d_prev, &emitted);
    UNROLL for (int p = 0; p < PRE; p++)
        store_part(d_kept + p * H, d_pre[p], n);
    UNROLL for (int s = 0; s < STATES; s++)
        if (s > 0 || !a->W_hr)
            store_part(a->state[s] + row * H + unit, d_prev[s], n);
    if (a->W_hr)
        store_part(a->unprojected + (t->in_chunk + row) * H + unit, emitted, n);
}

/* What `pull` will read, from wherever it lies: it is here by the time that dh is. */
INLINE void fetch(const struct scan *a, const struct backstep *t, int64_t row, int64_t unit)
{
    int64_t H = a->H, at = t->offset + row;
    UNROLL for (int p = 0; p < PRE; p++)
        __builtin_prefetch(a->pre + (at * PRE + p) * H + unit, 0, 2);
    UNROLL for (int s = 1; s < STATES; s++)
        __builtin_prefetch(a->prev[s] + at * H + unit, 0, 2);
    __builtin_prefetch(a->prev[0] + at * a->R + unit, 0, 2);
    if (a->output)
        __builtin_prefetch(a->output + at * a->R + unit, 0, 2);
}

/* dh = what comes from the step after, through W_hh and directly, + the gradient from outside: for rows that have a step
   after, or have none; and for rows that move, or not, as at the initial state. */
APART void backward_tile(const struct scan *a, const struct weights *w, const struct backstep *t, int later, int moves,
                         int64_t p, int64_t row, int R)
{
    vec sum[8 * WIDE];
    const real *d_hidden = t->d_later + row * PRE * a->H + SPLIT * a->H;
    for (int r = 0; r < R && moves; r++)
        for (int c = 0; c < WIDE; c++)
            fetch(a, t, row + r, (p * WIDE + c) * V);
    times_wide(R, a->B == 1, d_hidden, PRE * a->H, 1, later ? w->terms : 0, SUM, w->panels + p * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE; c++) {
            int64_t unit = (p * WIDE + c) * V, n = a->R - unit, at = (t->offset + row + r) * a->R + unit;
            if (n <= 0)
                break;
            real *direct = a->state[0] + (row + r) * a->R + unit;
            vec dh = sum[r * WIDE + c] + load_part(direct, n);
            if (moves && a->output)
                dh += load_part(a->output + at, n);
            if (moves && !a->W_hr)
                pull(a, t, row + r, unit, dh);
            else
                store_part(direct, moves ? splat(0) : dh, n);
            if (moves && a->W_hr)
                store_part(a->d_emitted + (t->in_chunk + row + r) * a->R + unit, dh, n);
        }
}

APART void unproject_tile(const struct scan *a, const struct weights *w, const struct backstep *t, int64_t p, int64_t row, int R)
{
    vec sum[8 * WIDE];
    times_wide(R, a->B == 1, a->d_emitted + (t->in_chunk + row) * a->R, a->R, 1, a->R, SUM, w->panels + p * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE && (p * WIDE + c) * V < a->H; c++)
            pull(a, t, row + r, (p * WIDE + c) * V, sum[r * WIDE + c]);
}

static void step_back(const struct scan *a, const struct backstep *t, int64_t k, struct team *team, int64_t me, int64_t size)
{
    struct weights hh = hidden_weights(a, 1), hr = projection(a, 1);
    int64_t both = MIN(t->n, t->later_n), any = MAX(t->n, t->later_n);
    int64_t each_step = a->division == PANELS ? size : 1;
    struct share s = step_share(a, &hh, any, ROWS_OF(WIDE), me, size);
    EACH_TILE(s, k % 2, any) {
        int64_t middle = MAX(row, MIN(end, both));
        if (row < middle)
            backward_tile(a, &hh, t, 1, 1, p, row, middle - row);
        if (middle < end)
            backward_tile(a, &hh, t, t->n < t->later_n, t->n > t->later_n, p, middle, end - middle);
    }
    if (a->W_hr) {
        meet(team, each_step);
        s = step_share(a, &hr, t->n, ROWS_OF(WIDE), me, size);
        EACH_TILE(s, k % 2, t->n)
            unproject_tile(a, &hr, t, p, row, end - row);
    }
    meet(team, each_step);
}

/* db = the sum of so many rows of dpre, or is added to. */
static void add_rows(const struct scan *a, int64_t rows, int added, int64_t me, int64_t size)
{
    int64_t width = PRE * a->H, vectors = (width + V - 1) / V;
    for (int64_t v = vectors * me / size * V; v < vectors * (me + 1) / size * V; v += V) {
        vec total = splat(0), lost = splat(0); /* Kahan's sum: what an addition loses, the next one makes good */
        if (added)
            total = load_part(a->d_bias + v, width - v), lost = load_part(a->lost + v, width - v);
        for (int64_t first = 0; first < rows; first += RUN) {
            vec run = splat(0);
            for (int64_t r = first; r < MIN(first + RUN, rows); r++)
                run += load_part(a->d_pre + r * width + v, width - v);
            vec more = run - lost, sum = total + more;
            lost = sum - total - more;
            total = sum;
        }
        store_part(a->d_bias + v, total, width - v);
        store_part(a->lost + v, lost, width - v);
    }
}

/* Each bias's gradient from the sums of dpre. */
static void part_bias(const struct scan *a)
{
    for (int64_t g = 0, H = a->H; g < GATES; g++) {
        if (a->d_bias_ih)
            memcpy(a->d_bias_ih + row_of(INPUT_GATES, H, g * H), a->d_bias + g * H, sizeof(real) * H);
        if (a->d_bias_hh)
            memcpy(a->d_bias_hh + row_of(HIDDEN_GATES, H, g * H), a->d_bias + (g + SPLIT) * H, sizeof(real) * H);
    }
}

/* What so many rows, of the chunk that begins with row `lowest`, give to the gradients of x and the weights; `first` of
   all chunks puts W_ih in panels. */
static void multiply_chunk(const struct scan *a, int64_t lowest, int64_t rows, int first, struct team *team, int64_t me, int64_t size)
{
    int64_t width = PRE * a->H, outputs = GATES * a->H, I = a->I, H = a->H, R = a->R, added = a->added || !first;
    const real *d_hidden = a->d_pre + SPLIT * H;
    struct large products[] = {
        {wide(a->W_ih, I, I, outputs, a->panels_ih, INPUT_GATES, H), rows, a->d_pre, width, 0, a->dx + lowest * I},
        {wide(a->x + lowest * I, I, I, rows, a->panels_x, NULL, H), outputs, a->d_pre, width, 1, a->dW_ih, added, INPUT_GATES},
        {wide(a->prev[0] + lowest * R, R, R, rows, a->panels_x, NULL, H), outputs, d_hidden, width, 1, a->dW_hh, added,
         HIDDEN_GATES},
        {wide(a->unprojected, H, H, rows, a->panels_x, NULL, H), R, a->d_emitted, R, 1, a->dW_hr, added},
    };
    const real *needed[] = {a->dx, a->dW_ih, a->dW_hh, a->dW_hr};
    for (int i = 0; i < 4; i++)
        if (needed[i]) {
            meet(team, size); /* the one before has its room */
            multiply_large(products + i, i > 0 || first, a->blocks, team, me, size);
        }
    if (a->d_bias)
        add_rows(a, rows, added, me, size);
}

/* From step `to` - 1 down to `from`, by chunks, and from the first one on to the initial state. */
static void backward(const struct scan *a, struct team *team, int64_t me, int64_t size)
{
    int64_t width = PRE * a->H, later = a->first_row; /* of step `to` */
    const real *d_later = a->d_carry;
    if (a->to == a->T) {
        pack(a, 1, me, size);
        for (int s = 0; me == 0 && s < STATES; s++)
            put_given(a, s, a->state[s]);
        meet(team, size);
    }
    for (int64_t k = a->to, first = k; k > a->from;) {
        int64_t rows = 0;
        while (first > a->from && rows < CHUNK_BACK)
            rows += rows_at(a, --first);
        int64_t lowest = a->reverse ? later + rows_at(a, k) : later - rows;
        int first_chunk = k == a->T;
        while (k-- > first) {
            struct backstep t = {rows_at(a, k), rows_at(a, k + 1), 0, 0, NULL, d_later};
            t.offset = later + (a->reverse ? t.later_n : -t.n);
            t.in_chunk = t.offset - lowest;
            d_later = t.d_pre = a->d_pre + t.in_chunk * width;
            step_back(a, &t, k, team, me, size);
            later = t.offset;
        }
        k++;
        meet(team, size);
        multiply_chunk(a, lowest, rows, first_chunk, team, me, size);
        int64_t carried = rows_at(a, k) * width, from = carried * me / size, end = carried * (me + 1) / size;
        memcpy(a->d_carry + from, d_later + from, sizeof(real) * (end - from));
        d_later = a->d_carry;
        meet(team, size);
    }
    if (a->from == 0) {
        struct backstep t = {0, rows_at(a, 0), 0, 0, NULL, d_later};
        step_back(a, &t, -1, team, me, size);
        if (me == 0)
            part_bias(a);
    }
}

/* ------------------------------------------------------------------------------------------------ a call */

/* How many scans are run in turn: that of the call, or one for each segment; on the way back two. */
INLINE int64_t turns(const struct scan *a)
{
    return a->every ? (a->T + a->every - 1) / a->every * (a->back ? 2 : 1) : 1;
}

/* The k-th segment, of which the states are still the whole scan's. */
static struct scan segment(const struct scan *all, int64_t k)
{
    struct scan a = *all;
    int64_t from = k * a.every, T = MIN(a.every, a.T - from), first = a.reverse ? a.T - from - T : from;
    int64_t row = a.begins ? a.begins[first] : first * a.B;
    a.N = a.begins ? a.begins[a.every] : a.every * a.B; /* of the longest: the first steps have most rows */
    a.T = T;
    a.begins = a.begins ? a.begins + first : NULL;
    a.x += row * a.I;
    a.output = a.output ? a.output + row * a.R : NULL;
    a.dx = a.dx ? a.dx + row * a.I : NULL;
    return a;
}

/* The i-th scan. A segment begins with the states that the one before has left. On the way back each, the last one first,
   runs again, now keeping all in the room, and then back; the one before takes its gradients of the states. */
static struct scan turn(const struct scan *all, int64_t i, uintptr_t *room)
{
    if (!all->every)
        return *all;
    int64_t last = (all->T - 1) / all->every, k = all->back ? last - i / 2 : i;
    struct scan a = segment(all, k);
    a.back = all->back && i % 2;
    a.added = k < last;
    if (all->back) {
        a.pre = part(room, a.N * PRE * a.H);
        real *output = part(room, a.N * a.R);
        a.output = a.back ? a.output : output;
    }
    for (int s = 0; s < STATES; s++) {
        int64_t numbers = a.B * width(&a, s);
        real *begin = all->prev[s] + k * numbers;
        if (all->back) {
            a.prev[s] = part(room, a.N * width(&a, s));
            real *end = part(room, numbers);
            a.given[s] = !a.back ? begin : k < last ? all->state[s] : all->given[s];
            a.state[s] = a.back ? all->state[s] : end;
        } else {
            a.prev[s] = NULL;
            a.given[s] = begin;
            a.state[s] = k < last ? begin + numbers : all->state[s];
        }
    }
    return a;
}

struct work { /* a call: of its scans in turn the steps from `done` to `end` */
    const struct scan *all;
    char *room;
    int64_t done, end;
    struct team team;
};

/* What each thread does: its number and the real size of the team are asked inside. */
static void join(void *given)
{
    struct work *work = given;
    const struct crew *crew = &work->all->crew;
    int64_t many = crew->threads > 1, me = many ? crew->thread_num() : 0, size = many ? crew->num_threads() : 1;
    uint64_t before = flush_denormals();
    for (int64_t i = 0, first = 0, begun = 0; i < turns(work->all) && first < work->end; i++) {
        uintptr_t room = (uintptr_t)work->room;
        struct scan a = turn(work->all, i, &room);
        int64_t done = MAX(0, work->done - first), end = MIN(a.T, work->end - first);
        first += a.T;
        if (done >= end)
            continue;
        a.from = a.back ? a.T - end : done;
        a.to = a.back ? a.T - done : end;
        int64_t k = a.back ? a.to : a.from, t = a.reverse ? MAX(0, a.T - 1 - k) : k;
        a.first_row = a.begins ? a.begins[t] - a.begins[0] : t * a.B;
        furnish(&a, room);
        if (begun++)
            meet(&work->team, size); /* in the same room */
        a.back ? backward(&a, &work->team, me, size) : forward(&a, &work->team, me, size);
    }
    restore_denormals(before);
}

/* What Python calls, with so many `fields` of eight bytes: the steps from `done` on, of about so many operations in all,
   for no Ctrl-C is answered meanwhile. It gives the steps that are done, or 0 when all are; where the room of so many bytes
   is too small, minus the bytes of one that is not, and nothing is done. */
const int64_t fields[] = {GIVEN / 8};
int64_t run_scan(const void *given, char *room, int64_t bytes, int64_t done, double operations)
{
    struct scan all = {0};
    memcpy(&all, given, GIVEN);
    struct work work = {&all, room, done, done};
    int64_t steps = 0, needed = 0;
    for (int64_t i = 0; i < turns(&all); i++) {
        uintptr_t parts = 0;
        struct scan a = turn(&all, i, &parts);
        int64_t room_of_one = furnish(&a, parts);
        needed = MAX(needed, room_of_one);
        double of_step = MAX(LEAST, (a.back ? 4. : 2.) * MAX(FEWEST, a.B) * GATES * a.H * (a.I + a.R));
        steps += a.T;
        int64_t left = MAX(0, MIN(a.T, steps - work.end)), fit = MAX(operations / of_step, work.end == done);
        operations = fit < left ? 0 : operations - left * of_step;
        work.end += MIN(left, fit);
    }
    if (needed > bytes)
        return -needed;
    if (all.crew.threads > 1)
        all.crew.parallel(join, &work, all.crew.threads, 0);
    else
        join(&work);
    return work.end < steps ? work.end : 0;
}
