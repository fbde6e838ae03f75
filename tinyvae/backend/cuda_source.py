"""The CUDA C++ of `tinyvae.backend.cupy_kernels`, which says what each kernel is for."""

SOURCE = r"""
// REAL is float or double, THREADS the number of threads in a block.
//
// A kernel over rows takes one block for each. Behind each of its inputs stands the number of
// elements from one row of it to the next, which is 0 where a single row was broadcast.

// The sum of one part from each thread t with the same t % width, in a fixed order; the first
// `width` threads have it.
template <class T> __device__ T sum_over_block(T part, int width = 1) {
    __shared__ T parts[THREADS];
    parts[threadIdx.x] = part;
    for (int half = THREADS / 2; half >= width; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    return parts[threadIdx.x];
}

__device__ long long thread_of_all() { return (long long)blockIdx.x * THREADS + threadIdx.x; }

// The losses and the sample

extern "C" __global__ void bernoulli_cross_entropy(
    const REAL* logits, long long l_row, const REAL* targets, long long t_row,
    REAL* loss, long long d) {
    logits += blockIdx.x * l_row;
    targets += blockIdx.x * t_row;
    REAL part = 0;
    for (long long k = threadIdx.x; k < d; k += THREADS) {
        const REAL l = logits[k], t = targets[k];
        part += ((l >= 0) - t) * l + log1p(exp(-fabs(l)));
    }
    const REAL sum = sum_over_block(part);
    if (threadIdx.x == 0) loss[blockIdx.x] = sum;
}

// The slopes of max(l, 0) - t l on both sides of 0, weighted by 1 and e = e^-|l|.
extern "C" __global__ void bernoulli_cross_entropy_to_logits(
    const REAL* logits, long long l_row, const REAL* targets, long long t_row,
    const REAL* g, long long g_row, REAL* gradient, long long d) {
    logits += blockIdx.x * l_row;
    targets += blockIdx.x * t_row;
    for (long long k = threadIdx.x; k < d; k += THREADS) {
        const REAL l = logits[k], t = targets[k], e = exp(-fabs(l));
        const REAL slope = (((l >= 0) - t) + e * ((l < 0) - t)) / (1 + e);
        gradient[blockIdx.x * d + k] = g[blockIdx.x * g_row] * slope;
    }
}

extern "C" __global__ void gaussian_sample(
    const REAL* mean, long long m_row, const REAL* log_variance, long long v_row,
    const REAL* noise, long long n_row, REAL* z, long long d) {
    for (long long k = threadIdx.x; k < d; k += THREADS) {
        const REAL sigma = exp(log_variance[blockIdx.x * v_row + k] / 2);
        z[blockIdx.x * d + k] =
            mean[blockIdx.x * m_row + k] + sigma * noise[blockIdx.x * n_row + k];
    }
}

extern "C" __global__ void gaussian_sample_to_log_variance(
    const REAL* log_variance, long long v_row, const REAL* noise, long long n_row,
    const REAL* g, long long g_row, REAL* gradient, long long d) {
    for (long long k = threadIdx.x; k < d; k += THREADS) {
        const REAL deviation =
            exp(log_variance[blockIdx.x * v_row + k] / 2) * noise[blockIdx.x * n_row + k];
        gradient[blockIdx.x * d + k] = g[blockIdx.x * g_row + k] * deviation / 2;
    }
}

extern "C" __global__ void gaussian_sample_to_noise(
    const REAL* log_variance, long long v_row, const REAL* g, long long g_row,
    REAL* gradient, long long d) {
    for (long long k = threadIdx.x; k < d; k += THREADS)
        gradient[blockIdx.x * d + k] =
            g[blockIdx.x * g_row + k] * exp(log_variance[blockIdx.x * v_row + k] / 2);
}

// e^x - 1 - x; near 0 by its series, x^2/2 (1 + x/3 (1 + x/4 (...))).
__device__ REAL excess(REAL x) {
    if (x < -1 || x > 2) return expm1(x) - x;
    REAL series = 1;
    for (int n = sizeof(REAL) == 8 ? 26 : 16; n > 2; --n) series = 1 + series * (x / n);
    return x * x / 2 * series;
}

extern "C" __global__ void kl_standard_normal(
    const REAL* mean, long long m_row, const REAL* log_variance, long long v_row,
    REAL* kl, long long d) {
    mean += blockIdx.x * m_row;
    log_variance += blockIdx.x * v_row;
    REAL part = 0;
    for (long long k = threadIdx.x; k < d; k += THREADS)
        part += (mean[k] * mean[k] + excess(log_variance[k])) / 2;
    const REAL sum = sum_over_block(part);
    if (threadIdx.x == 0) kl[blockIdx.x] = sum;
}

extern "C" __global__ void kl_standard_normal_to_log_variance(
    const REAL* log_variance, long long v_row, const REAL* g, long long g_row,
    REAL* gradient, long long d) {
    for (long long k = threadIdx.x; k < d; k += THREADS)
        gradient[blockIdx.x * d + k] =
            g[blockIdx.x * g_row] * (expm1(log_variance[blockIdx.x * v_row + k]) / 2);
}

// Dense layers

extern "C" __global__ void add_bias(
    REAL* y, const REAL* bias, long long columns) {
    for (long long k = threadIdx.x; k < columns; k += THREADS)
        y[blockIdx.x * columns + k] += bias[k];
}

extern "C" __global__ void add_bias_relu(
    REAL* y, const REAL* bias, long long columns) {
    for (long long k = threadIdx.x; k < columns; k += THREADS) {
        const REAL sum = y[blockIdx.x * columns + k] + bias[k];
        y[blockIdx.x * columns + k] = sum <= 0 ? 0 : sum;  // a NaN stays one
    }
}

extern "C" __global__ void relu_to_x(
    const REAL* y, const REAL* g, REAL* gradient, long long size) {
    const long long k = thread_of_all();
    if (k < size) gradient[k] = g[k] * (y[k] > 0);
}

// One block sums COLUMNS neighbouring columns of `chunk` rows.
extern "C" __global__ void column_sums(
    const REAL* g, REAL* sums, long long rows, long long columns, long long chunk) {
    const long long tiles = (columns + COLUMNS - 1) / COLUMNS;
    const long long column = blockIdx.x % tiles * COLUMNS + threadIdx.x % COLUMNS;
    const long long mine = blockIdx.x / tiles, first = mine * chunk;
    const long long end = first + chunk < rows ? first + chunk : rows;
    REAL part = 0;
    if (column < columns)
        for (long long row = first + threadIdx.x / COLUMNS; row < end; row += THREADS / COLUMNS)
            part += g[row * columns + column];
    const REAL sum = sum_over_block(part, COLUMNS);
    if (threadIdx.x < COLUMNS && column < columns) sums[mine * columns + column] = sum;
}

// g where it was cut out, 0 elsewhere: of each `length` elements, `count` from `start` on.
extern "C" __global__ void getitem_to_x(
    const REAL* g, REAL* gradient, long long length, long long start, long long count,
    long long size) {
    const long long k = thread_of_all();
    if (k >= size) return;
    const long long outer = k / length, inner = k % length - start;
    gradient[k] = 0 <= inner && inner < count ? g[outer * count + inner] : 0;
}

// A step of training

__device__ void move(
    REAL* p, const REAL* g, REAL* first, REAL* second, REAL rate, REAL floor, REAL shrink,
    REAL beta1, REAL beta2, long long size) {
    const long long k = thread_of_all();
    if (k >= size) return;
    const REAL m = beta1 * first[k] + g[k];
    const REAL v = beta2 * second[k] + g[k] * g[k];
    first[k] = m;
    second[k] = v;
    p[k] = p[k] - shrink * p[k] - rate * (m / (sqrt(v) + floor));
}

extern "C" __global__ void adam(
    REAL* p, const REAL* g, REAL* first, REAL* second, const REAL* constants,
    double beta1, double beta2, long long size) {
    move(p, g, first, second, constants[0], constants[1], constants[2], REAL(beta1), REAL(beta2),
         size);
}

extern "C" __global__ void adam_of_numbers(
    REAL* p, const REAL* g, REAL* first, REAL* second, double rate, double floor, double shrink,
    double beta1, double beta2, long long size) {
    move(p, g, first, second, REAL(rate), REAL(floor), REAL(shrink), REAL(beta1), REAL(beta2),
         size);
}

// One block copies one example; `draws` is read only where the pixels are `drawn`.
template <class PIXEL> __device__ void take(
    const PIXEL* images, const long long* order, const PIXEL* draws, const REAL* noise,
    const REAL* constants, const long long* turn, REAL* x, REAL* sample_noise, REAL* step,
    long long batch, long long pixels, long long latent, long long count, bool drawn, REAL scale) {
    const long long place = *turn * batch + blockIdx.x;
    const PIXEL* image = images + order[place] * pixels;
    for (long long k = threadIdx.x; k < pixels; k += THREADS)
        x[blockIdx.x * pixels + k] =
            drawn ? REAL(draws[place * pixels + k] < image[k]) : REAL(image[k]) * scale;
    for (long long k = threadIdx.x; k < latent; k += THREADS)
        sample_noise[blockIdx.x * latent + k] = noise[place * latent + k];
    if (blockIdx.x == 0 && threadIdx.x == 0)
        for (long long k = 0; k < count; ++k) step[k] = constants[*turn * count + k];
}

extern "C" __global__ void take_batch_uint8(
    const unsigned char* images, const long long* order, const unsigned char* draws,
    const REAL* noise, const REAL* constants, const long long* turn, REAL* x,
    REAL* sample_noise, REAL* step, long long batch, long long pixels, long long latent,
    long long count, long long drawn) {
    take(images, order, draws, noise, constants, turn, x, sample_noise, step, batch, pixels,
         latent, count, drawn, REAL(1.0 / 255));
}

extern "C" __global__ void take_batch_float32(
    const float* images, const long long* order, const float* draws, const REAL* noise,
    const REAL* constants, const long long* turn, REAL* x, REAL* sample_noise, REAL* step,
    long long batch, long long pixels, long long latent, long long count, long long drawn) {
    take(images, order, draws, noise, constants, turn, x, sample_noise, step, batch, pixels,
         latent, count, drawn, REAL(1));
}

// Block 0 adds up the cross-entropies, block 1 the divergences.
extern "C" __global__ void tally(
    const REAL* cross_entropy, const REAL* kl, double* sums, long long* turn, long long rows) {
    const REAL* losses = blockIdx.x == 0 ? cross_entropy : kl;
    double part = 0;
    for (long long k = threadIdx.x; k < rows; k += THREADS) part += losses[k];
    const double sum = sum_over_block(part);
    if (threadIdx.x == 0) sums[blockIdx.x] += sum;
    if (blockIdx.x == 0 && threadIdx.x == 0) ++*turn;
}
"""
