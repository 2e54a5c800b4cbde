/* The scan of one cell in C: one sequence through time, forward and back.

   This text is a template. Where it says `#include "cell"` the equations of the cell are put, one C line for each; it is
   compiled twice, for `real` float and double. A scan sees rows, as the torch engine does: `pre` holds the first step's
   rows, then the second's, ...; at each step the first n rows move, the others wait.

   Letters: B rows of the largest step, H units, R width of the emitted state (H without a projection), V units in a
   vector, K terms of a sum, P pre-activations, of which the first SPLIT are not reached by the hidden product.

   The weights are arranged in panels: the columns of one vector of units, or of some, for all gates, term by term. A
   tile, some rows times a panel, holds its sums in registers through all K terms; the equations then take them from the
   cache nearest to the core. Threads stay for the whole sequence. */

#ifndef ONCE
#define ONCE
#include <stdint.h>
#include <string.h>
#include <sched.h>

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

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define ZIP(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define ZIP(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif
#define PASTE(name, type) name##_##type
#define TYPED(name, type) PASTE(name, type)
#define NAME(name) TYPED(name, real)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum { ONE_THREAD, ROWS_ALONE, PANELS };  /* how the work is divided */

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

struct team {
    _Alignas(64) int64_t arrived;
    _Alignas(64) int64_t turn;
};

/* Wait until all of the team are here: some microseconds at work, then leaving the core to whoever wants it. */
static void meet(struct team *team, int64_t size)
{
    if (size == 1)
        return;
    int64_t turn = __atomic_load_n(&team->turn, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int tries = 0; __atomic_load_n(&team->turn, __ATOMIC_ACQUIRE) == turn; tries++)
        if (tries < 400)
            pause_a_little();
        else
            sched_yield();
}
#endif

/* ------------------------------------------------------------------------------------------------ vectors of units */

#undef V
#define V (VECTOR_BYTES / REAL_BYTES)
#undef ZIP_LOW
#undef ZIP_HIGH
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

#undef whole
#if REAL_BYTES == 4
#define whole int32_t
#else
#define whole int64_t
#endif
#define vec NAME(vec)
#define ints NAME(ints)
#define loose NAME(loose)
typedef real vec __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef whole ints __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef real loose __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias)); /* wherever it lies */

#define splat NAME(splat)
INLINE vec splat(real x) { return x - (vec){0}; }

#define load NAME(load)
INLINE vec load(const real *from) { return *(const loose *)from; }

#define store NAME(store)
INLINE void store(real *to, vec x) { *(loose *)to = x; }

#define load_part NAME(load_part)
INLINE vec load_part(const real *from, int64_t n) /* the first n, then zeros */
{
    if (n >= V)
        return load(from);
    vec x = {0};
    for (int64_t i = 0; i < n; i++)
        x[i] = from[i];
    return x;
}

#define store_part NAME(store_part)
INLINE void store_part(real *to, vec x, int64_t n)
{
    if (n >= V)
        store(to, x);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = x[i];
}

/* What the functions of the equations are made of: e^x = 2^n e^r with |r| <= ln 2 / 2, and the series of e^r and log. */
#undef EXPONENT_BIAS
#undef MANTISSA_BITS
#undef EPSILON
#undef SMALLEST_NORMAL
#undef ROUNDING
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LEAST
#undef EXP_MOST
#undef EXP_NORMAL
#undef TANH_FLAT
#undef EXP_TERMS
#undef LOG_TERMS
#undef SQRT
#define ONE_OVER_LN2 (real)1.44269504088896341
#define SQRT_HALF (real)0.707106781186547524
#if REAL_BYTES == 4
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define EPSILON 0x1p-23f
#define SMALLEST_NORMAL 0x1p-126f
#define ROUNDING 0x1.8p23f /* added and taken away, it leaves a whole number */
#define LN2_HIGH 0.693359375f /* so few digits that its multiples are exact */
#define LN2_LOW -2.12194440054690583e-4f
#define EXP_LEAST -104 /* below it e^x is 0, */
#define EXP_MOST 89    /* above it infinite */
#define EXP_NORMAL 88  /* and up to here a normal number */
#define TANH_FLAT 10   /* from here on tanh is 1 */
#define EXP_TERMS 7
#define LOG_TERMS 5
#define SQRT __builtin_sqrtf
#else
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#define EPSILON 0x1p-52
#define SMALLEST_NORMAL 0x1p-1022
#define ROUNDING 0x1.8p52
#define LN2_HIGH 0.693145751953125
#define LN2_LOW 1.42860682030941723212e-6
#define EXP_LEAST -746
#define EXP_MOST 710
#define EXP_NORMAL 709
#define TANH_FLAT 22
#define EXP_TERMS 13
#define LOG_TERMS 11
#define SQRT __builtin_sqrt
#endif

#define exp_series NAME(exp_series)
INLINE vec exp_series(vec r) /* 1/2! + r/3! + r^2/4! + ... */
{
    static const real over_factorial[] = {1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320,
        1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
    vec sum = splat(over_factorial[EXP_TERMS]);
    UNROLL for (int k = EXP_TERMS - 1; k >= 2; k--)
        sum = sum * r + over_factorial[k];
    return sum;
}

#define log_series NAME(log_series)
INLINE vec log_series(vec s2) /* artanh(s) / s = 1 + s^2/3 + s^4/5 + ... */
{
    vec sum = splat((real)1 / (2 * LOG_TERMS + 1));
    UNROLL for (int k = LOG_TERMS - 1; k >= 0; k--)
        sum = sum * s2 + (real)1 / (2 * k + 1);
    return sum;
}

/* ------------------------------------------------------------------------------------------------ the cell's equations

   The cell says: GATES, those with a hidden product; SPLIT of them stand apart, PRE = SPLIT + GATES; STATES;
   and gives update(pre, prev, number, next) and adjoint(pre, prev, number, arriving, d_pre, d_prev,
   emitted). */

#include "cell"

/* ------------------------------------------------------------------------------------------------ panels and tiles */

#undef WIDE
#undef UNITS
#undef COLUMNS
#undef ROWS_OF
#define WIDE (REGISTERS == 32 ? 4 : 2)                     /* vectors in a panel without gates */
#define UNITS (GATES >= WIDE ? 1 : WIDE / GATES)           /* vectors of units in a panel of gates */
#define COLUMNS (GATES * UNITS)                            /* vectors in it */
#define ROWS_OF(C) MAX(1, MIN(8, (REGISTERS - (C) - 2) / (C))) /* so many rows of sums leave room for a term of the panel */
#define TERMS 512 /* of one sum: of longer ones partial sums are added, which lose less to rounding */

/* The weights of a product y = W x, in panels or as they lie. */
#define weights NAME(weights)
struct weights {
    const real *W;
    real *panels;
    int64_t outputs, terms; /* of one gate */
    int64_t size;           /* of a panel */
    int64_t count;          /* of panels */
};

/* V vectors as the rows of a square become its columns: each round deals two halves like a pack of cards. */
#define transpose NAME(transpose)
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
#define pack_rows NAME(pack_rows)
static void pack_rows(const struct weights *w, int gates, int units, int64_t panel)
{
    real *to = w->panels + panel * w->size;
    const int columns = gates * units;
    for (int u = 0; u < units; u++)
        for (int g = 0; g < gates; g++) {
            int64_t first = (panel * units + u) * V;
            const real *from = w->W + (g * w->outputs + first) * w->terms;
            for (int64_t k = 0; k < w->terms; k += V) {
                int64_t n = MIN(V, w->terms - k);
                vec x[V];
                UNROLL for (int i = 0; i < V; i++)
                    x[i] = first + i < w->outputs ? load_part(from + i * w->terms + k, n) : splat(0);
                transpose(x);
                for (int i = 0; i < n; i++)
                    store(to + ((k + i) * columns + u * gates + g) * V, x[i]);
            }
        }
}

/* W [terms, outputs]: a panel holds WIDE vectors of each row. */
#define pack_columns NAME(pack_columns)
static void pack_columns(const struct weights *w, int64_t panel)
{
    real *to = w->panels + panel * w->size;
    for (int64_t k = 0; k < w->terms; k++)
        for (int c = 0; c < WIDE; c++, to += V) {
            int64_t first = (panel * WIDE + c) * V;
            store(to, load_part(w->W + k * w->outputs + MIN(first, w->outputs), MAX(0, w->outputs - first)));
        }
}

/* sum[r, c] = the sum over K terms of x[r, k] * panel[k, c], for R rows and C vectors of columns.

   It is called with constants for R, C and chains, so that the sums stay in registers. `chains` sums of every chains-th
   term each: of few rows, or a multiplication would wait for the one before. */
#define product NAME(product)
INLINE void product(const int R, const int C, const int chains, const real *x, int64_t stride, int64_t K,
                    const real *panel, vec *sum)
{
    UNROLL for (int i = 0; i < R * C; i++)
        sum[i] = splat(0);
    for (int64_t k = 0; k < K;) {
        int64_t end = MIN(k + TERMS, K);
        vec part[4][8][MAX(WIDE, COLUMNS)];
        UNROLL for (int j = 0; j < chains; j++)
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int c = 0; c < C; c++)
                    part[j][r][c] = splat(0);
        for (; k + chains <= end; k += chains)
            UNROLL for (int j = 0; j < chains; j++) {
                UNROLL for (int r = 0; r < R; r++)
                    UNROLL for (int c = 0; c < C; c++)
                        part[j][r][c] += x[r * stride + k + j] * load(panel + c * V);
                panel += C * V;
            }
        for (; k < end; k++, panel += C * V)
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int c = 0; c < C; c++)
                    part[0][r][c] += x[r * stride + k] * load(panel + c * V);
        UNROLL for (int j = 0; j < chains; j++)
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int c = 0; c < C; c++)
                    sum[r * C + c] += part[j][r][c];
    }
}

#undef TILE
#define TILE(R, C, chains) \
    case R: if (R <= ROWS_OF(C)) product(R, C, chains, x, stride, K, panel, sum); return;

/* Forward bits should not depend on how rows fall into tiles: one chain always. */
#define times_gates NAME(times_gates)
static void times_gates(int R, const real *x, int64_t stride, int64_t K, const real *panel, vec *sum)
{
    switch (R) {
        TILE(1, COLUMNS, 1) TILE(2, COLUMNS, 1) TILE(3, COLUMNS, 1) TILE(4, COLUMNS, 1)
        TILE(5, COLUMNS, 1) TILE(6, COLUMNS, 1) TILE(7, COLUMNS, 1) TILE(8, COLUMNS, 1)
    }
}

#define times_wide NAME(times_wide)
static void times_wide(int R, const real *x, int64_t stride, int64_t K, const real *panel, vec *sum)
{
    switch (R) {
        TILE(1, WIDE, 4) TILE(2, WIDE, 2) TILE(3, WIDE, 2) TILE(4, WIDE, 1)
        TILE(5, WIDE, 1) TILE(6, WIDE, 1) TILE(7, WIDE, 1) TILE(8, WIDE, 1)
    }
}

/* One row: sum[g] = W h for a vector of units, a dot product for each row of W where it lies. */
#define dots NAME(dots)
static void dots(const struct weights *w, int64_t first, const real *h, vec *sum)
{
    for (int g = 0; g < GATES; g++) {
        const real *row[V];
        vec x[V];
        UNROLL for (int i = 0; i < V; i++) {
            row[i] = w->W + (g * w->outputs + MIN(first + i, w->outputs - 1)) * w->terms;
            x[i] = splat(0);
        }
        int64_t k = 0;
        for (; k + V <= w->terms; k += V) {
            vec h_k = load(h + k);
            UNROLL for (int i = 0; i < V; i++)
                x[i] += load(row[i] + k) * h_k;
        }
        if (k < w->terms) {
            vec h_k = load_part(h + k, w->terms - k);
            UNROLL for (int i = 0; i < V; i++)
                x[i] += load_part(row[i] + k, w->terms - k) * h_k;
        }
        UNROLL for (int n = V / 2; n > 0; n /= 2)
            UNROLL for (int i = 0; i < n; i++)
                x[i] = ZIP(x[i], x[i + n], ZIP_LOW) + ZIP(x[i], x[i + n], ZIP_HIGH);
        sum[g] = x[0];
    }
}

/* ------------------------------------------------------------------------------------------------ one call */

#define call NAME(call)
struct call { /* every field has eight bytes; Python fills them in this order */
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned); /* GOMP_parallel of torch's OpenMP, and of the same: */
    int (*thread_num)(void);
    int (*num_threads)(void);
    int64_t threads, division;
    int64_t T, from, to, first_row; /* steps in all; those of this call, counted in the order they are taken; where */
    int64_t reverse, B, H, R;
    const int64_t *sizes; /* the rows of each step, or NULL: B */
    const double *number; /* what the equations have from outside */
    const real *W_hh, *W_hr; /* [GATES * H, R] and [R, H] or NULL */
    real *panels, *panels_hr; /* room for W_hh, or NULL for the weights as they lie, and W_hr in panels */
    real *pre;   /* [N, PRE * H], forward: the input product, to which kept sums are added */
    int64_t keep;
    real *output;     /* [N, R], or its gradient, or NULL */
    real *unprojected;/* forward [B, H]; backward [N, H] */
    real *d_pre;      /* [N, PRE * H] */
    real *d_emitted;  /* [N, R] with a projection */
    real *prev[STATES];  /* before each step [N, .], or before the one and after [2, B, .] */
    real *state[STATES]; /* forward: first the initial, then the last [B, .]; backward: the gradients of those */
};

#define rows_at NAME(rows_at)
INLINE int64_t rows_at(const struct call *a, int64_t k) /* of the k-th step that is taken */
{
    if (k < 0 || k >= a->T)
        return 0;
    return a->sizes ? a->sizes[a->reverse ? a->T - 1 - k : k] : a->B;
}

#define width NAME(width)
INLINE int64_t width(const struct call *a, int s) { return s == 0 ? a->R : a->H; }

#define hidden_weights NAME(hidden_weights)
INLINE struct weights hidden_weights(const struct call *a, int backward)
{
    int64_t terms = backward ? GATES * a->H : a->R, outputs = backward ? a->R : a->H;
    int64_t columns = backward ? WIDE : COLUMNS, units = (backward ? WIDE : UNITS) * V;
    return (struct weights){a->W_hh, a->panels, outputs, terms, columns * V * terms, (outputs + units - 1) / units};
}

#define projection NAME(projection)
INLINE struct weights projection(const struct call *a, int backward)
{
    int64_t terms = backward ? a->R : a->H, outputs = backward ? a->H : a->R;
    return (struct weights){a->W_hr, a->panels_hr, outputs, terms, WIDE * V * terms, (outputs + WIDE * V - 1) / (WIDE * V)};
}

/* What one thread does of some rows times all panels: a range of panels, and every groups-th of the tiles of rows.
   Alone with its rows it does all panels. */
#define share NAME(share)
struct share { int64_t panel, panels_end, rows, tiles, tile, groups; };

#define share_of NAME(share_of)
INLINE struct share share_of(const struct call *a, const struct weights *w, int64_t rows, int64_t most, int64_t me, int64_t team)
{
    int64_t across = a->division == PANELS ? MIN(team, w->count) : 1;
    int64_t groups = team / across, column = me % across;
    if (a->division == ROWS_ALONE)
        rows = a->B; /* a row stays with its thread */
    int64_t tiles = (rows + most - 1) / most;
    tiles = (tiles + groups - 1) / groups * groups;
    struct share s = {w->count * column / across, w->count * (column + 1) / across, rows, tiles, me / across, groups};
    if (s.tile >= groups)
        s.tile = tiles; /* one too many */
    return s;
}

#define pack NAME(pack)
static void pack(const struct call *a, int backward, int64_t me, int64_t team)
{
    struct weights hh = hidden_weights(a, backward), hr = projection(a, backward);
    if (hh.panels)
        for (int64_t p = hh.count * me / team; p < hh.count * (me + 1) / team; p++)
            backward ? pack_columns(&hh, p) : pack_rows(&hh, GATES, UNITS, p);
    if (hr.W)
        for (int64_t p = hr.count * me / team; p < hr.count * (me + 1) / team; p++)
            backward ? pack_columns(&hr, p) : pack_rows(&hr, 1, WIDE, p);
}

/* ------------------------------------------------------------------------------------------------ forward */

#define moment NAME(moment)
struct moment { /* one step: its rows, and where they begin */
    int64_t n, next_n;
    real *pre, *output;
    real *prev[STATES], *next[STATES];
};

/* The new state of a row, where the next step finds it, or where the caller does. */
#define after NAME(after)
INLINE real *after(const struct call *a, const struct moment *t, int s, int64_t row)
{
    return (row < t->next_n ? t->next[s] : a->state[s]) + row * width(a, s);
}

#define take NAME(take)
static void take(const struct call *a, const struct moment *t, int64_t row, int64_t unit, const vec *sum)
{
    int64_t H = a->H, n = H - unit;
    real *at = t->pre + row * PRE * H + unit;
    vec pre[PRE], prev[STATES], next[STATES];
    UNROLL for (int p = 0; p < PRE; p++) {
        pre[p] = load_part(at + p * H, n);
        if (p >= SPLIT) {
            pre[p] += sum[p - SPLIT];
            if (a->keep)
                store_part(at + p * H, pre[p], n);
        }
    }
    UNROLL for (int s = 0; s < STATES; s++)
        prev[s] = s == 0 && a->W_hr ? splat(0) : load_part(t->prev[s] + row * H + unit, n);
    update(pre, prev, a->number, next);
    UNROLL for (int s = 0; s < STATES; s++)
        if (s > 0 || !a->W_hr)
            store_part(after(a, t, s, row) + unit, next[s], n);
    store_part((a->W_hr ? a->unprojected : t->output) + row * H + unit, next[0], n);
}

#define forward_tile NAME(forward_tile)
static void forward_tile(const struct call *a, const struct weights *w, const struct moment *t, int64_t panel, int64_t row, int R)
{
    vec sum[8 * COLUMNS];
    int64_t first = panel * UNITS * V;
    const real *h = t->prev[0] + row * w->terms;
    if (w->panels)
        times_gates(R, h, w->terms, w->terms, w->panels + panel * w->size, sum);
    else
        for (int r = 0; r < R; r++)
            for (int u = 0; u < UNITS && first + u * V < w->outputs; u++)
                dots(w, first + u * V, h + r * w->terms, sum + (r * UNITS + u) * GATES);
    for (int u = 0; u < UNITS && first + u * V < w->outputs; u++)
        for (int r = 0; r < R; r++)
            take(a, t, row + r, first + u * V, sum + (r * UNITS + u) * GATES);
}

#define project_tile NAME(project_tile)
static void project_tile(const struct call *a, const struct weights *w, const struct moment *t, int64_t panel, int64_t row, int R)
{
    vec sum[8 * WIDE];
    times_wide(R, a->unprojected + row * a->H, a->H, a->H, w->panels + panel * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE; c++) {
            int64_t unit = (panel * WIDE + c) * V, n = a->R - unit;
            if (n > 0) {
                store_part(t->output + (row + r) * a->R + unit, sum[r * WIDE + c], n);
                store_part(after(a, t, 0, row + r) + unit, sum[r * WIDE + c], n);
            }
        }
}

/* Rows see their initial state before their first step: where that is looked for. */
#define begin NAME(begin)
static void begin(const struct call *a)
{
    int64_t row = a->first_row;
    for (int s = 0; s < STATES; s++)
        if (!a->keep)
            for (int half = 0; half < 2; half++)
                memcpy(a->prev[s] + half * a->B * width(a, s), a->state[s], sizeof(real) * a->B * width(a, s));
    if (a->keep)
        for (int64_t k = 0, before = 0; k < a->T; k++) {
            int64_t n = rows_at(a, k);
            for (int s = 0; s < STATES && n > before; s++)
                memcpy(a->prev[s] + (row + before) * width(a, s), a->state[s] + before * width(a, s),
                       sizeof(real) * (n - before) * width(a, s));
            row += a->reverse ? -rows_at(a, k + 1) : n;
            before = n;
        }
}

#define forward_part NAME(forward_part)
static void forward_part(const struct call *a, struct team *team, int64_t me, int64_t size)
{
    struct weights hh = hidden_weights(a, 0), hr = projection(a, 0);
    int together = a->division == PANELS ? size : 1;
    int64_t most = a->W_hr ? MIN(ROWS_OF(COLUMNS), ROWS_OF(WIDE)) : ROWS_OF(COLUMNS);
    if (a->from == 0) {
        pack(a, 0, me, size);
        if (me == 0)
            begin(a);
        meet(team, size);
    }
    int64_t offset = a->first_row;
    for (int64_t k = a->from; k < a->to; k++) {
        int64_t n = rows_at(a, k), next_n = rows_at(a, k + 1), next = offset + (a->reverse ? -next_n : n);
        struct moment t = {n, next_n, a->pre + offset * PRE * a->H, a->output + offset * a->R};
        for (int s = 0; s < STATES; s++) {
            t.prev[s] = a->prev[s] + (a->keep ? offset : k % 2 * a->B) * width(a, s);
            t.next[s] = a->prev[s] + (a->keep ? next : (k + 1) % 2 * a->B) * width(a, s);
        }
        struct share s = share_of(a, &hh, n, most, me, size);
        for (int64_t p = s.panel; p < s.panels_end; p++)
            for (int64_t i = s.tile; i < s.tiles; i += s.groups) {
                int64_t row = s.rows * i / s.tiles, end = MIN(n, s.rows * (i + 1) / s.tiles);
                if (row < end)
                    forward_tile(a, &hh, &t, p, row, end - row);
            }
        if (a->W_hr) {
            meet(team, together);
            s = share_of(a, &hr, n, most, me, size);
            for (int64_t p = s.panel; p < s.panels_end; p++)
                for (int64_t i = s.tile; i < s.tiles; i += s.groups) {
                    int64_t row = s.rows * i / s.tiles, end = MIN(n, s.rows * (i + 1) / s.tiles);
                    if (row < end)
                        project_tile(a, &hr, &t, p, row, end - row);
                }
        }
        meet(team, together);
        offset = next;
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

/* dh has arrived, by all roads: the adjoint's lines for the step that made h. */
#define pull NAME(pull)
static void pull(const struct call *a, int64_t offset, int64_t row, int64_t unit, vec dh)
{
    int64_t H = a->H, n = H - unit, at = (offset + row) * H + unit;
    const real *from = a->pre + (offset + row) * PRE * H + unit;
    vec pre[PRE], prev[STATES], arriving[STATES], d_pre[PRE], d_prev[STATES], emitted;
    UNROLL for (int p = 0; p < PRE; p++)
        pre[p] = load_part(from + p * H, n);
    UNROLL for (int s = 0; s < STATES; s++) {
        prev[s] = s == 0 && a->W_hr ? splat(0) : load_part(a->prev[s] + at, n);
        arriving[s] = s == 0 ? dh : load_part(a->state[s] + row * H + unit, n);
    }
    adjoint(pre, prev, a->number, arriving, d_pre, d_prev, &emitted);
    UNROLL for (int p = 0; p < PRE; p++)
        store_part(a->d_pre + (offset + row) * PRE * H + p * H + unit, d_pre[p], n);
    UNROLL for (int s = 0; s < STATES; s++)
        if (s > 0 || !a->W_hr)
            store_part(a->state[s] + row * H + unit, d_prev[s], n);
    if (a->W_hr)
        store_part(a->unprojected + at, emitted, n);
}

/* dh = the gradient from outside + what comes from the step after, by W_hh and directly; for rows that have a step after
   (`later`), and that move (`moves`). */
#define backward_tile NAME(backward_tile)
static void backward_tile(const struct call *a, const struct weights *w, int64_t offset, int64_t later, int moves,
                          int64_t panel, int64_t row, int R)
{
    vec sum[8 * WIDE];
    int64_t stride = PRE * a->H;
    const real *d_hidden = a->d_pre + (later + row) * stride + SPLIT * a->H;
    times_wide(R, d_hidden, stride, later < 0 ? 0 : w->terms, w->panels + panel * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE; c++) {
            int64_t unit = (panel * WIDE + c) * V, n = a->R - unit, at = (offset + row + r) * a->R + unit;
            if (n <= 0)
                break;
            real *direct = a->state[0] + (row + r) * a->R + unit;
            vec dh = sum[r * WIDE + c] + load_part(direct, n);
            if (moves && a->output)
                dh += load_part(a->output + at, n);
            if (!moves)
                store_part(direct, dh, n);
            else if (!a->W_hr)
                pull(a, offset, row + r, unit, dh);
            else {
                store_part(a->d_emitted + at, dh, n);
                store_part(direct, splat(0), n);
            }
        }
}

#define unproject_tile NAME(unproject_tile)
static void unproject_tile(const struct call *a, const struct weights *w, int64_t offset, int64_t panel, int64_t row, int R)
{
    vec sum[8 * WIDE];
    times_wide(R, a->d_emitted + (offset + row) * a->R, a->R, a->R, w->panels + panel * w->size, sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < WIDE && (panel * WIDE + c) * V < a->H; c++)
            pull(a, offset, row + r, (panel * WIDE + c) * V, sum[r * WIDE + c]);
}

/* From step `to` - 1 down to `from`, and behind the first one on to the initial state. */
#define backward_part NAME(backward_part)
static void backward_part(const struct call *a, struct team *team, int64_t me, int64_t size)
{
    struct weights hh = hidden_weights(a, 1), hr = projection(a, 1);
    int together = a->division == PANELS ? size : 1;
    if (a->to == a->T) {
        pack(a, 1, me, size);
        meet(team, size);
    }
    int64_t later = a->first_row; /* of the step that is taken after; first_row is that of step `to` */
    for (int64_t k = a->to - 1; k >= (a->from == 0 ? -1 : a->from); k--) {
        int64_t n = rows_at(a, k), later_n = rows_at(a, k + 1);
        int64_t offset = later + (a->reverse ? later_n : -n);
        struct share s = share_of(a, &hh, MAX(n, later_n), ROWS_OF(WIDE), me, size);
        for (int64_t p = s.panel; p < s.panels_end; p++)
            for (int64_t i = s.tile; i < s.tiles; i += s.groups) {
                int64_t row = s.rows * i / s.tiles, end = s.rows * (i + 1) / s.tiles;
                int64_t both = MAX(row, MIN(end, MIN(n, later_n)));
                int64_t last = MIN(end, MAX(n, later_n));
                if (row < both)
                    backward_tile(a, &hh, offset, later, 1, p, row, both - row);
                if (both < last)
                    backward_tile(a, &hh, offset, n > later_n ? -1 : later, n > later_n, p, both, last - both);
            }
        if (a->W_hr) {
            meet(team, together);
            s = share_of(a, &hr, n, ROWS_OF(WIDE), me, size);
            for (int64_t p = s.panel; p < s.panels_end; p++)
                for (int64_t i = s.tile; i < s.tiles; i += s.groups) {
                    int64_t row = s.rows * i / s.tiles, end = MIN(n, s.rows * (i + 1) / s.tiles);
                    if (row < end)
                        unproject_tile(a, &hr, offset, p, row, end - row);
                }
        }
        meet(team, together);
        later = offset;
    }
}

/* ------------------------------------------------------------------------------------------------ threads */

#define work NAME(work)
struct work {
    const struct call *call;
    void (*part)(const struct call *, struct team *, int64_t me, int64_t size);
    struct team team;
};

#define join NAME(join)
static void join(void *given)
{
    struct work *work = given;
    const struct call *a = work->call;
    int many = a->threads > 1;
    uint64_t before = flush_denormals();
    work->part(a, &work->team, many ? a->thread_num() : 0, many ? a->num_threads() : 1);
    restore_denormals(before);
}

#define begin_work NAME(begin_work)
static void begin_work(const struct call *a, void (*part)(const struct call *, struct team *, int64_t, int64_t))
{
    struct work work = {a, part};
    if (a->threads > 1)
        a->parallel(join, &work, a->threads, 0);
    else
        join(&work);
}

#define forward NAME(forward)
void forward(const struct call *a) { begin_work(a, forward_part); }

#define backward NAME(backward)
void backward(const struct call *a) { begin_work(a, backward_part); }

#define layout NAME(layout)
const int64_t layout[] = {V, UNITS, COLUMNS, WIDE}; /* what Python has to know to make room */
