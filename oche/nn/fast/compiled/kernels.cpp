// Kernels of the fast engine for CPUs. Every function has a pure PyTorch counterpart that it must agree with
// (tests/nn/fast/test_compiled.py); the mathematics is explained there: separable.py, normalization.py, pooling.py.
//
// All images are `N x H x W x C` in memory (channels last), T is float or double, and C is a multiple of the V
// channels that one vector holds. What the work is made of:
//
// - One image at a time, so that everything between reading `x` and writing `y` stays in the core's own cache: its
//   ReLU inside a border of zeros, the rows of the depthwise output, the gradient on its way back.
// - Eight pixels at a time in registers, so that a weight is loaded once for eight products.
// - Sums per image in T, over images in double and in a fixed order: the result does not depend on the threads.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

namespace {

typedef int64_t Int;

constexpr int PIXELS = 8;   // in registers at once: 8 accumulators hide the latency of a product
constexpr Int CHUNKS = 16;  // of images, each with sums of its own: enough for the threads of a desktop

// A second thread has to be woken and waited for, which takes longer than a little work (multiplications, roughly).
inline Int threads_for(Int work, Int threads) { return work < (1 << 20) ? 1 : threads; }

template <class T, int V>
struct Vec {
  typedef T type __attribute__((vector_size(V * sizeof(T)), aligned(sizeof(T)), may_alias));
};

template <class T, int V>
using vec = typename Vec<T, V>::type;

template <class T, int V>
inline vec<T, V> load(const T* p) {
  return *reinterpret_cast<const vec<T, V>*>(p);
}

template <class T, int V>
inline void store(T* p, vec<T, V> x) {
  *reinterpret_cast<vec<T, V>*>(p) = x;
}

// Zeros that begin on a cache line: a vector across two lines takes two loads.
template <class T>
struct Line {
  typedef T value_type;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const Line&) const { return true; }
  bool operator!=(const Line&) const { return false; }
};

template <class T>
using Buffer = std::vector<T, Line<T>>;

struct Shape {
  Int n, h, w, c;             // of the input
  Int ho, wo;                 // of the output
  Int k, stride, padding, dilation;
  Int reach() const { return dilation * (k - 1); }
};

// out[i, j] = sum_t w[t] u[i s + d ti, j s + d tj] for one row of `width` outputs; u is its first row, `row` long.
template <class T, int V>
void convolve_row(const T* u, Int row, Int c, const T* w, Int k, Int s, Int d, Int width, T* out) {
  for (Int b = 0; b < c; b += V) {
    Int j = 0;
    for (; j + PIXELS <= width; j += PIXELS) {
      vec<T, V> acc[PIXELS] = {};
      for (Int ti = 0; ti < k; ti++)
        for (Int tj = 0; tj < k; tj++) {
          const vec<T, V> tap = load<T, V>(w + (ti * k + tj) * c + b);
          const T* from = u + ti * d * row + (j * s + tj * d) * c + b;
          for (int q = 0; q < PIXELS; q++) acc[q] += tap * load<T, V>(from + q * s * c);
        }
      for (int q = 0; q < PIXELS; q++) store<T, V>(out + (j + q) * c + b, acc[q]);
    }
    for (; j < width; j++) {
      vec<T, V> acc = {};
      for (Int ti = 0; ti < k; ti++)
        for (Int tj = 0; tj < k; tj++)
          acc += load<T, V>(w + (ti * k + tj) * c + b) * load<T, V>(u + ti * d * row + (j * s + tj * d) * c + b);
      store<T, V>(out + j * c + b, acc);
    }
  }
}

// out[p, o] = sum_c in[p, c] m[c, o] for `pixels` pixels.
template <class T, int V>
void multiply(const T* in, const T* m, Int c, Int pixels, T* out) {
  for (Int b = 0; b < c; b += V) {
    Int p = 0;
    for (; p + PIXELS <= pixels; p += PIXELS) {
      vec<T, V> acc[PIXELS] = {};
      for (Int i = 0; i < c; i++) {
        const vec<T, V> row = load<T, V>(m + i * c + b);
        for (int q = 0; q < PIXELS; q++) acc[q] += in[(p + q) * c + i] * row;
      }
      for (int q = 0; q < PIXELS; q++) store<T, V>(out + (p + q) * c + b, acc[q]);
    }
    for (; p < pixels; p++) {
      vec<T, V> acc = {};
      for (Int i = 0; i < c; i++) acc += in[p * c + i] * load<T, V>(m + i * c + b);
      store<T, V>(out + p * c + b, acc);
    }
  }
}

// sum[o, c] += sum_p a[p, o] b[p, c] over `pixels` pixels.
template <class T, int V>
void add_outer(const T* a, const T* b, Int c, Int pixels, T* sum) {
  constexpr int ROWS = V < PIXELS ? V : PIXELS;  // c is a multiple of V
  for (Int o = 0; o < c; o += ROWS)
    for (Int i = 0; i < c; i += V) {
      vec<T, V> acc[ROWS];
      for (int q = 0; q < ROWS; q++) acc[q] = load<T, V>(sum + (o + q) * c + i);
      for (Int p = 0; p < pixels; p++) {
        const vec<T, V> x = load<T, V>(b + p * c + i);
        for (int q = 0; q < ROWS; q++) acc[q] += a[p * c + o + q] * x;
      }
      for (int q = 0; q < ROWS; q++) store<T, V>(sum + (o + q) * c + i, acc[q]);
    }
}

// sum[t, c] += sum_j g[j, c] u[j s + d tj, c] of the K taps of one row of the kernel; U pixels at once.
template <class T, int V, int K, int U>
void add_taps(const T* g, const T* u, Int c, Int s, Int d, Int width, T* sum) {
  for (Int b = 0; b < c; b += V) {
    vec<T, V> acc[K][U] = {};
    Int j = 0;
    for (; j + U <= width; j += U)
      for (int q = 0; q < U; q++) {
        const vec<T, V> x = load<T, V>(g + (j + q) * c + b);
        for (int t = 0; t < K; t++) acc[t][q] += x * load<T, V>(u + ((j + q) * s + t * d) * c + b);
      }
    for (; j < width; j++) {
      const vec<T, V> x = load<T, V>(g + j * c + b);
      for (int t = 0; t < K; t++) acc[t][0] += x * load<T, V>(u + (j * s + t * d) * c + b);
    }
    for (int t = 0; t < K; t++) {
      vec<T, V> all = load<T, V>(sum + t * c + b);
      for (int q = 0; q < U; q++) all += acc[t][q];
      store<T, V>(sum + t * c + b, all);
    }
  }
}

template <class T, int V>
void add_taps_of(Int k, const T* g, const T* u, Int c, Int s, Int d, Int width, T* sum) {
  switch (k) {
    case 3: return add_taps<T, V, 3, 4>(g, u, c, s, d, width, sum);
    case 5: return add_taps<T, V, 5, 2>(g, u, c, s, d, width, sum);
    default:
      for (Int t = 0; t < k; t++) add_taps<T, V, 1, 8>(g, u + t * d * c, c, s, d, width, sum + t * c);
  }
}

// The gradient of a strided convolution's padded input, output by output.
template <class T, int V>
void scatter(const Shape& a, const T* dh, const T* w, T* du) {
  const Int row = (a.w + 2 * a.padding) * a.c;
  std::memset(du, 0, sizeof(T) * row * (a.h + 2 * a.padding));
  for (Int i = 0; i < a.ho; i++)
    for (Int ti = 0; ti < a.k; ti++)
      for (Int tj = 0; tj < a.k; tj++)
        for (Int j = 0; j < a.wo; j++) {
          T* to = du + (i * a.stride + ti * a.dilation) * row + (j * a.stride + tj * a.dilation) * a.c;
          const T *tap = w + (ti * a.k + tj) * a.c, *from = dh + (i * a.wo + j) * a.c;
          for (Int b = 0; b < a.c; b += V)
            store<T, V>(to + b, load<T, V>(to + b) + load<T, V>(tap + b) * load<T, V>(from + b));
        }
}

// The image's ReLU, normalized first where there is a mean, in the middle of a border of zeros.
template <class T, int V>
void rectify(const T* x, const Shape& a, const T* mean, const T* rate, T* padded) {
  const Int row = (a.w + 2 * a.padding) * a.c;
  std::memset(padded, 0, sizeof(T) * row * (a.h + 2 * a.padding));
  for (Int i = 0; i < a.h; i++)
    for (Int j = 0; j < a.w; j++) {
      const T* from = x + (i * a.w + j) * a.c;
      T* to = padded + (i + a.padding) * row + (j + a.padding) * a.c;
      for (Int b = 0; b < a.c; b += V) {
        vec<T, V> z = load<T, V>(from + b);
        if (mean) z = (z - load<T, V>(mean + b)) * load<T, V>(rate + b);
        store<T, V>(to + b, z > vec<T, V>{} ? z : vec<T, V>{});
      }
    }
}

// Mean and sum of squared distances from it, per channel, in two passes over an image that is still in the cache.
template <class T, int V>
void moments(const T* y, Int pixels, Int c, double* mean, double* square) {
  for (Int b = 0; b < c; b += V) {
    vec<T, V> sum[4] = {};
    Int p = 0;
    for (; p + 4 <= pixels; p += 4)
      for (int q = 0; q < 4; q++) sum[q] += load<T, V>(y + (p + q) * c + b);
    for (; p < pixels; p++) sum[0] += load<T, V>(y + p * c + b);
    const vec<T, V> center = (sum[0] + sum[1] + sum[2] + sum[3]) / (T)pixels;
    vec<T, V> first[2] = {}, second[2] = {};
    for (p = 0; p + 2 <= pixels; p += 2)
      for (int q = 0; q < 2; q++) {
        const vec<T, V> x = load<T, V>(y + (p + q) * c + b) - center;
        first[q] += x;
        second[q] += x * x;
      }
    for (; p < pixels; p++) {
      const vec<T, V> x = load<T, V>(y + p * c + b) - center;
      first[0] += x;
      second[0] += x * x;
    }
    for (int q = 0; q < V; q++) {
      const double shift = ((double)first[0][q] + first[1][q]) / pixels;  // what rounding left over
      mean[b + q] = center[q] + shift;
      square[b + q] = (double)second[0][q] + second[1][q] - shift * shift * pixels;
    }
  }
}

// From the moments of each image to those of the batch (Chan, Golub, LeVeque 1983), in the order of the images.
template <class T>
void gather(const double* moments, Int n, Int pixels, Int c, double eps, T* mean, T* rate, T* variance) {
  for (Int i = 0; i < c; i++) {
    double center = 0, square = 0;
    for (Int m = 0; m < n; m++) {
      const double* of = moments + m * 2 * c;
      const double difference = of[i] - center;
      center += difference / (m + 1);
      square += of[c + i] + difference * difference * pixels * m / (m + 1);
    }
    mean[i] = (T)center;
    rate[i] = (T)(1 / std::sqrt(square / (n * pixels) + eps));
    variance[i] = (T)(square / (n * pixels - 1));
  }
}

template <class T>
Buffer<T> by_tap(const T* w, Int c, Int taps, bool flipped) {  // `C x taps` to `taps x C`
  Buffer<T> out(c * taps);
  for (Int i = 0; i < c; i++)
    for (Int t = 0; t < taps; t++) out[(flipped ? taps - 1 - t : t) * c + i] = w[i * taps + t];
  return out;
}

template <class T>
Buffer<T> transposed(const T* m, Int c) {
  Buffer<T> out(c * c);
  for (Int o = 0; o < c; o++)
    for (Int i = 0; i < c; i++) out[i * c + o] = m[o * c + i];
  return out;
}

// dy = sum_j a_j rate (g_j - sum g_j / n - (y - mean) rate^2 sum g_j (y - mean) / n): the gradient of a normalized and
// weighted sum (normalization.py), ready to be read row by row. A running mean (no sums) has no gradient.
template <class T, int V>
struct Pull {
  const T *const *g, *y;
  Int count, c;
  Buffer<T> alpha, beta, gamma;

  Pull(Int count, const T* const* g, const T* const* weight, const T* const* sums, const T* y, const T* mean,
       const T* rate, Int n, Int c)
      : g(g), y(y), count(count), c(c), alpha(count * c), beta(c), gamma(c) {
    for (Int j = 0; j < count; j++)
      for (Int b = 0; b < c; b++) {
        const T a = (weight ? weight[j][0] : (T)1) * (rate ? rate[b] : (T)1);
        alpha[j * c + b] = a;
        if (!sums) continue;
        const T slope = a * rate[b] * rate[b] * sums[j][c + b] / n;
        beta[b] -= slope;
        gamma[b] += slope * mean[b] - a * sums[j][b] / n;
      }
    if (!sums) this->y = nullptr;
  }

  void row(Int pixel, Int width, T* out) const {
    for (Int b = 0; b < c; b += V) {
      const vec<T, V> slope = load<T, V>(&beta[b]), constant = load<T, V>(&gamma[b]);
      for (Int p = 0; p < width; p++) {
        const Int at = (pixel + p) * c + b;
        vec<T, V> d = constant;
        if (y) d += load<T, V>(y + at) * slope;
        for (Int j = 0; j < count; j++) d += load<T, V>(g[j] + at) * load<T, V>(&alpha[j * c + b]);
        store<T, V>(out + p * c + b, d);
      }
    }
  }
};

template <class T, int V>
void round_forward(const Shape& a, const T* x, const T* in_mean, const T* in_rate, const T* dw, const T* pw, double eps,
                   T* y, T* mean, T* rate, T* variance, Int threads) {
  const Buffer<T> taps = by_tap(dw, a.c, a.k * a.k, false), matrix = transposed(pw, a.c);
  const Int row = (a.w + 2 * a.padding) * a.c, pixels = a.ho * a.wo;
  std::vector<double> of_images(mean ? a.n * 2 * a.c : 0);
#pragma omp parallel num_threads(threads_for(a.n * pixels * a.c * (a.k * a.k + a.c), threads))
  {
    Buffer<T> padded(row * (a.h + 2 * a.padding)), h(a.wo * a.c);
#pragma omp for schedule(static)
    for (Int n = 0; n < a.n; n++) {
      T* out = y + n * pixels * a.c;
      rectify<T, V>(x + n * a.h * a.w * a.c, a, in_mean, in_rate, padded.data());
      for (Int i = 0; i < a.ho; i++) {
        const T* first = padded.data() + i * a.stride * row;
        convolve_row<T, V>(first, row, a.c, taps.data(), a.k, a.stride, a.dilation, a.wo, h.data());
        multiply<T, V>(h.data(), matrix.data(), a.c, a.wo, out + i * a.wo * a.c);
      }
      if (mean) moments<T, V>(out, pixels, a.c, &of_images[n * 2 * a.c], &of_images[(n * 2 + 1) * a.c]);
    }
  }
  if (mean) gather(of_images.data(), a.n, pixels, a.c, eps, mean, rate, variance);
}

// dx (+)= gradient of the rectified input; with a normalized input, of the normalized one, with the sums behind it.
template <class T, int V>
void round_backward(const Shape& a, const T* x, const T* in_mean, const T* in_rate, const T* dw, const T* pw,
                    const Pull<T, V>& pull, T* dx, bool add, T* sums, T* ddw, T* dpw, Int threads) {
  const Int taps = a.k * a.k, c = a.c, pixels = a.ho * a.wo, before = a.reach() - a.padding;
  const Buffer<T> weights = by_tap(dw, c, taps, false), flipped = by_tap(dw, c, taps, true);
  const Int row = (a.w + 2 * a.padding) * c, padded_size = row * (a.h + 2 * a.padding);
  const bool gathers = a.stride == 1 && before >= 0;
  const Int dh_row = gathers ? (a.w + a.reach()) * c : a.wo * c, dh_rows = gathers ? a.h + a.reach() : a.ho;
  const Int dh_start = gathers ? before * (dh_row + c) : 0;
  const Int parts = a.n < CHUNKS ? a.n : CHUNKS, weight_size = c * taps + c * c;
  std::vector<double> of_weights(ddw ? parts * weight_size : 0), of_sums(sums ? parts * 2 * c : 0);
#pragma omp parallel num_threads(threads_for(a.n * pixels * c * (taps + c), threads))
  {
    const bool rectifies = ddw || in_mean;
    Buffer<T> padded(rectifies ? padded_size : 0), dh(dh_row * dh_rows), dy(a.wo * c), h(ddw ? a.wo * c : 0);
    Buffer<T> du(gathers ? a.w * c : padded_size), image(ddw ? weight_size : 0), image_sums(2 * c);
#pragma omp for schedule(static)
    for (Int part = 0; part < parts; part++)
      for (Int n = part * a.n / parts; n < (part + 1) * a.n / parts; n++) {
        const T* input = x + n * a.h * a.w * c;
        if (rectifies) rectify<T, V>(input, a, in_mean, in_rate, padded.data());
        std::memset(image.data(), 0, sizeof(T) * image.size());
        for (Int i = 0; i < a.ho; i++) {
          pull.row(n * pixels + i * a.wo, a.wo, dy.data());
          T* dhi = dh.data() + dh_start + i * dh_row;
          multiply<T, V>(dy.data(), pw, c, a.wo, dhi);
          if (ddw) {
            const T* first = padded.data() + i * a.stride * row;
            convolve_row<T, V>(first, row, c, weights.data(), a.k, a.stride, a.dilation, a.wo, h.data());
            add_outer<T, V>(dy.data(), h.data(), c, a.wo, image.data() + c * taps);
            for (Int t = 0; t < a.k; t++)
              add_taps_of<T, V>(a.k, dhi, first + t * a.dilation * row, c, a.stride, a.dilation, a.wo,
                                image.data() + t * a.k * c);
          }
        }
        if (ddw)
          for (Int i = 0; i < weight_size; i++) of_weights[part * weight_size + i] += image[i];
        if (!dx) continue;
        if (!gathers) scatter<T, V>(a, dh.data(), weights.data(), du.data());
        std::memset(image_sums.data(), 0, sizeof(T) * 2 * c);
        for (Int i = 0; i < a.h; i++) {
          const T* from = du.data() + ((i + a.padding) * row + a.padding * c);
          if (gathers) {
            convolve_row<T, V>(dh.data() + i * dh_row, dh_row, c, flipped.data(), a.k, 1, a.dilation, a.w, du.data());
            from = du.data();
          }
          T* to = dx + (n * a.h + i) * a.w * c;
          const T* masks = padded.data() + (i + a.padding) * row + a.padding * c;
          const T* xi = input + i * a.w * c;
          for (Int b = 0; b < c; b += V) {
            vec<T, V> sum = {}, product = {};
            for (Int j = 0; j < a.w; j++) {
              vec<T, V> d = load<T, V>(from + j * c + b);
              if (in_mean) {
                d = load<T, V>(masks + j * c + b) > vec<T, V>{} ? d : vec<T, V>{};
                sum += d;
                product += d * (load<T, V>(xi + j * c + b) - load<T, V>(in_mean + b));
              }
              if (add) d += load<T, V>(to + j * c + b);
              store<T, V>(to + j * c + b, d);
            }
            if (in_mean) {
              store<T, V>(&image_sums[b], load<T, V>(&image_sums[b]) + sum);
              store<T, V>(&image_sums[c + b], load<T, V>(&image_sums[c + b]) + product);
            }
          }
        }
        if (sums)
          for (Int i = 0; i < 2 * c; i++) of_sums[part * 2 * c + i] += image_sums[i];
      }
  }
  if (sums)
    for (Int i = 0; i < 2 * c; i++) {
      double sum = 0;
      for (Int part = 0; part < parts; part++) sum += of_sums[part * 2 * c + i];
      sums[i] = (T)sum;
    }
  if (ddw)
    for (Int i = 0; i < weight_size; i++) {
      double sum = 0;
      for (Int part = 0; part < parts; part++) sum += of_weights[part * weight_size + i];
      if (i < c * taps) ddw[(i % c) * taps + i / c] = (T)sum;
      else dpw[i - c * taps] = (T)sum;
    }
}

// Both gradients of a depthwise convolution by itself; either may be null.
template <class T, int V>
void depthwise_backward(const Shape& a, const T* x, const T* w, const T* dy, T* dx, T* dw, Int threads) {
  const Int taps = a.k * a.k, c = a.c, pixels = a.ho * a.wo, before = a.reach() - a.padding;
  const Buffer<T> weights = by_tap(w, c, taps, false), flipped = by_tap(w, c, taps, true);
  const Int row = (a.w + 2 * a.padding) * c, padded_size = row * (a.h + 2 * a.padding);
  const bool gathers = a.stride == 1 && before >= 0;
  const Int dy_row = (a.w + a.reach()) * c, parts = a.n < CHUNKS ? a.n : CHUNKS;
  std::vector<double> of_weights(dw ? parts * c * taps : 0);
#pragma omp parallel num_threads(threads_for(a.n * pixels * c * taps, threads))
  {
    Buffer<T> padded(padded_size), spread(gathers ? dy_row * (a.h + a.reach()) : 0), image(c * taps);
#pragma omp for schedule(static)
    for (Int part = 0; part < parts; part++)
      for (Int n = part * a.n / parts; n < (part + 1) * a.n / parts; n++) {
        const T* g = dy + n * pixels * c;
        if (dw) {
          std::memset(padded.data(), 0, sizeof(T) * padded_size);
          for (Int i = 0; i < a.h; i++)
            std::memcpy(padded.data() + (i + a.padding) * row + a.padding * c, x + (n * a.h + i) * a.w * c,
                        sizeof(T) * a.w * c);
          std::memset(image.data(), 0, sizeof(T) * image.size());
          for (Int i = 0; i < a.ho; i++)
            for (Int t = 0; t < a.k; t++)
              add_taps_of<T, V>(a.k, g + i * a.wo * c, padded.data() + (i * a.stride + t * a.dilation) * row, c,
                                a.stride, a.dilation, a.wo, image.data() + t * a.k * c);
          for (Int i = 0; i < c * taps; i++) of_weights[part * c * taps + i] += image[i];
        }
        if (!dx) continue;
        T* to = dx + n * a.h * a.w * c;
        if (gathers) {
          for (Int i = 0; i < a.ho; i++)
            std::memcpy(spread.data() + (before + i) * dy_row + before * c, g + i * a.wo * c, sizeof(T) * a.wo * c);
          for (Int i = 0; i < a.h; i++)
            convolve_row<T, V>(spread.data() + i * dy_row, dy_row, c, flipped.data(), a.k, 1, a.dilation, a.w,
                               to + i * a.w * c);
        } else {
          scatter<T, V>(a, g, weights.data(), padded.data());
          for (Int i = 0; i < a.h; i++)
            std::memcpy(to + i * a.w * c, padded.data() + (i + a.padding) * row + a.padding * c,
                        sizeof(T) * a.w * c);
        }
      }
  }
  if (dw)
    for (Int i = 0; i < c * taps; i++) {
      double sum = 0;
      for (Int part = 0; part < parts; part++) sum += of_weights[part * c * taps + i];
      dw[(i % c) * taps + i / c] = (T)sum;
    }
}

// out = sum_i weight_i (in_i - mean_i) rate_i; without a mean sum_i weight_i in_i. `out` may be one of the inputs.
template <class T, int V>
void combine(Int pixels, Int c, Int count, const T* const* in, const T* const* weight, const T* const* mean,
             const T* const* rate, T* out, Int threads) {
  Buffer<T> scale(count * c), shift(c);
  for (Int i = 0; i < count; i++)
    for (Int b = 0; b < c; b++) {
      scale[i * c + b] = weight[i][0] * (mean[i] ? rate[i][b] : (T)1);
      if (mean[i]) shift[b] -= scale[i * c + b] * mean[i][b];
    }
#pragma omp parallel for num_threads(threads_for(pixels * c * count, threads)) schedule(static)
  for (Int p = 0; p < pixels; p++)
    for (Int b = 0; b < c; b += V) {
      vec<T, V> sum = load<T, V>(&shift[b]);
      for (Int i = 0; i < count; i++) sum += load<T, V>(&scale[i * c + b]) * load<T, V>(in[i] + p * c + b);
      store<T, V>(out + p * c + b, sum);
    }
}

// sums[0] = sum g, sums[1] = sum g (y - mean), per channel, and da = sum_c rate sums[1]; mean 0 and rate 1 if null.
template <class T, int V>
void products(Int n, Int pixels, Int c, const T* g, const T* y, const T* mean, const T* rate, T* sums, T* da,
              Int threads) {
  const Int parts = n < CHUNKS ? n : CHUNKS;
  std::vector<double> of_parts(parts * 2 * c);
#pragma omp parallel for num_threads(threads_for(n * pixels * c * 2, threads)) schedule(static)
  for (Int part = 0; part < parts; part++)
    for (Int m = part * n / parts; m < (part + 1) * n / parts; m++)
      for (Int b = 0; b < c; b += V) {
        const T *gm = g + m * pixels * c + b, *ym = y + m * pixels * c + b;
        const vec<T, V> center = mean ? load<T, V>(mean + b) : vec<T, V>{};
        vec<T, V> sum[4] = {}, product[4] = {};
        Int p = 0;
        for (; p + 4 <= pixels; p += 4)
          for (int q = 0; q < 4; q++) {
            const vec<T, V> x = load<T, V>(gm + (p + q) * c);
            sum[q] += x;
            product[q] += x * (load<T, V>(ym + (p + q) * c) - center);
          }
        for (; p < pixels; p++) {
          const vec<T, V> x = load<T, V>(gm + p * c);
          sum[0] += x;
          product[0] += x * (load<T, V>(ym + p * c) - center);
        }
        double* to = &of_parts[part * 2 * c + b];
        for (int q = 0; q < V; q++)
          for (int r = 0; r < 4; r++) {
            to[q] += sum[r][q];
            to[c + q] += product[r][q];
          }
      }
  double all = 0;
  for (Int i = 0; i < 2 * c; i++) {
    double sum = 0;
    for (Int part = 0; part < parts; part++) sum += of_parts[part * 2 * c + i];
    sums[i] = (T)sum;
    if (i >= c) all += sum * (rate ? rate[i - c] : (T)1);
  }
  *da = (T)all;
}

// Mean, rate and variance of every channel.
template <class T, int V>
void measure(Int n, Int pixels, Int c, const T* y, double eps, T* mean, T* rate, T* variance, Int threads) {
  std::vector<double> of_images(n * 2 * c);
#pragma omp parallel for num_threads(threads_for(n * pixels * c * 2, threads)) schedule(static)
  for (Int m = 0; m < n; m++)
    moments<T, V>(y + m * pixels * c, pixels, c, &of_images[m * 2 * c], &of_images[(m * 2 + 1) * c]);
  gather(of_images.data(), n, pixels, c, eps, mean, rate, variance);
}

// Running statistics of `count` normalizations towards those of the batch, and their numbers of batches by one.
template <class T>
void move(Int count, Int c, double momentum, const T* const* mean, const T* const* variance, T* const* running_mean,
          T* const* running_variance, Int* const* batches) {
  for (Int i = 0; i < count; i++) {
    for (Int b = 0; b < c; b++) {
      running_mean[i][b] += (T)momentum * (mean[i][b] - running_mean[i][b]);
      running_variance[i][b] += (T)momentum * (variance[i][b] - running_variance[i][b]);
    }
    ++*batches[i];
  }
}

// What `Pull` reads row by row, written out.
template <class T, int V>
void pull(Int n, Int pixels, const Pull<T, V>& pull, T* dy, Int threads) {
#pragma omp parallel for num_threads(threads_for(n * pixels * pull.c * 2, threads)) schedule(static)
  for (Int m = 0; m < n; m++) pull.row(m * pixels, pixels, dy + m * pixels * pull.c);
}

// The taps of a window that lie inside the image: [first, last) of `k` around output `i`.
struct Taps {
  Int first, last;
  Taps(Int i, const Shape& a, Int side) {
    const Int start = i * a.stride - a.padding;
    first = start < 0 ? -start : 0;
    last = start + a.k > side ? side - start : a.k;
  }
};

// Largest value of each window and which tap it was (the first one where several are equal), or the mean over the taps
// inside the image if there is no place to write the tap to.
template <class T, int V>
void pool_forward(const Shape& a, const T* x, double eps, T* y, uint8_t* places, T* mean, T* rate, T* variance,
                  Int threads) {
  typedef uint8_t bytes __attribute__((vector_size(V), aligned(1), may_alias));
  const Int c = a.c, pixels = a.ho * a.wo;
  std::vector<double> of_images(mean ? a.n * 2 * c : 0);
#pragma omp parallel for num_threads(threads_for(a.n * a.ho * a.wo * c * a.k * a.k, threads)) schedule(static)
  for (Int n = 0; n < a.n; n++) {
    for (Int i = 0; i < a.ho; i++)
      for (Int j = 0; j < a.wo; j++) {
        const Taps ti(i, a, a.h), tj(j, a, a.w);
        const T* corner = x + ((n * a.h + i * a.stride - a.padding) * a.w + j * a.stride - a.padding) * c;
        const Int to = ((n * a.ho + i) * a.wo + j) * c;
        for (Int b = 0; b < c; b += V) {
          vec<T, V> best = {};
          if (places) {
            vec<T, V> place = {}, nan = {};  // NaN is larger than everything; two selections are quicker than one of both
            best = load<T, V>(corner + (ti.first * a.w + tj.first) * c + b);
            place += (T)(ti.first * a.k + tj.first);
            for (Int p = ti.first; p < ti.last; p++)
              for (Int q = tj.first; q < tj.last; q++) {
                const vec<T, V> v = load<T, V>(corner + (p * a.w + q) * c + b), here = vec<T, V>{} + (T)(p * a.k + q);
                place = v > best ? here : place;
                best = v > best ? v : best;
                nan = v != v ? v : nan;
              }
            best = nan != nan ? nan : best;
            *reinterpret_cast<bytes*>(places + to + b) = __builtin_convertvector(place, bytes);
          } else {
            for (Int p = ti.first; p < ti.last; p++)
              for (Int q = tj.first; q < tj.last; q++) best += load<T, V>(corner + (p * a.w + q) * c + b);
            best /= (T)((ti.last - ti.first) * (tj.last - tj.first));
          }
          store<T, V>(y + to + b, best);
        }
      }
    if (mean) moments<T, V>(y + n * pixels * c, pixels, c, &of_images[n * 2 * c], &of_images[(n * 2 + 1) * c]);
  }
  if (mean) gather(of_images.data(), a.n, pixels, c, eps, mean, rate, variance);
}

// dx += the gradient of `pool_forward`.
template <class T, int V>
void pool_backward(const Shape& a, const Pull<T, V>& pull, const uint8_t* places, T* dx, Int threads) {
  typedef uint8_t bytes __attribute__((vector_size(V), aligned(1), may_alias));
  const Int c = a.c;
#pragma omp parallel for num_threads(threads_for(a.n * a.ho * a.wo * c * a.k * a.k, threads)) schedule(static)
  for (Int n = 0; n < a.n; n++) {
    Buffer<T> dy(a.wo * c);
    for (Int i = 0; i < a.ho; i++) {
      pull.row((n * a.ho + i) * a.wo, a.wo, dy.data());
      for (Int j = 0; j < a.wo; j++) {
        const Taps ti(i, a, a.h), tj(j, a, a.w);
        T* corner = dx + ((n * a.h + i * a.stride - a.padding) * a.w + j * a.stride - a.padding) * c;
        const Int from = ((n * a.ho + i) * a.wo + j) * c;
        for (Int b = 0; b < c; b += V) {
          vec<T, V> d = load<T, V>(&dy[j * c + b]), place = {};
          if (places) place = __builtin_convertvector(*reinterpret_cast<const bytes*>(places + from + b), vec<T, V>);
          else d /= (T)((ti.last - ti.first) * (tj.last - tj.first));
          for (Int p = ti.first; p < ti.last; p++)
            for (Int q = tj.first; q < tj.last; q++) {
              T* to = corner + (p * a.w + q) * c + b;
              const vec<T, V> own = places ? (place == vec<T, V>{} + (T)(p * a.k + q) ? d : vec<T, V>{}) : d;
              store<T, V>(to, load<T, V>(to) + own);
            }
        }
      }
    }
  }
}

// -- recurrent cells (oche/nn/recurrent/quick.py) ---------------------------------------------------------------------

template <class T> struct Bits;
template <> struct Bits<float> { typedef int32_t type; static constexpr int SHIFT = 23, BIAS = 127; };
template <> struct Bits<double> { typedef int64_t type; static constexpr int SHIFT = 52, BIAS = 1023; };

// The first n numbers of a row, and zeros.
template <class T, int V>
inline vec<T, V> load_some(const T* p, Int n) {
  if (n >= V) return load<T, V>(p);
  vec<T, V> x = {};
  std::memcpy(&x, p, n * sizeof(T));
  return x;
}

template <class T, int V>
inline void store_some(T* p, vec<T, V> x, Int n) {
  if (n >= V) store<T, V>(p, x);
  else std::memcpy(p, &x, n * sizeof(T));
}

template <class T>
constexpr T LEAST = sizeof(T) == 4 ? -87 : -708;  // exp of less is no normal number

// exp(x) for x <= 0, from LEAST on: 2^k exp(r) with |r| <= log(2) / 2, exp(r) by the polynomials of the Cephes library.
template <class T, int V>
inline vec<T, V> exponential(vec<T, V> x) {
  typedef typename Bits<T>::type Whole;
  typedef Whole whole __attribute__((vector_size(V * sizeof(T)), may_alias));
  constexpr bool SINGLE = sizeof(T) == 4;
  const vec<T, V> least = vec<T, V>{} + LEAST<T>;
  x = x < least ? least : x;  // NaN stays
  const T magic = SINGLE ? (T)12582912.0 : (T)6755399441055744.0;  // 1.5 times the power of two whose ulp is 1
  const vec<T, V> shifted = x * (T)1.4426950408889634 + magic, k = shifted - magic;
  const vec<T, V> r = x - k * (T)(SINGLE ? 0.693359375 : 6.93145751953125e-1) -
                      k * (T)(SINGLE ? -2.12194440e-4 : 1.42860682030941723212e-6);
  vec<T, V> y;
  if (SINGLE) {
    y = vec<T, V>{} + (T)1.9875691500e-4;
    y = y * r + (T)1.3981999507e-3;
    y = y * r + (T)8.3334519073e-3;
    y = y * r + (T)4.1665795894e-2;
    y = y * r + (T)1.6666665459e-1;
    y = y * r + (T)5.0000001201e-1;
    y = y * r * r + r + (T)1;
  } else {
    const vec<T, V> q = r * r;
    const vec<T, V> odd = r * ((q * (T)1.26177193074810590878e-4 + (T)3.02994407707441961300e-2) * q + (T)1);
    const vec<T, V> even = ((q * (T)3.00198505138664455042e-6 + (T)2.52448340349684104192e-3) * q +
                            (T)2.27265548208155028766e-1) * q + (T)2;
    y = (T)2 * (odd / (even - odd)) + (T)1;
  }
  const whole power = ((whole)shifted - (whole)(vec<T, V>{} + magic) + Bits<T>::BIAS) << Bits<T>::SHIFT;
  return y * (vec<T, V>)power;
}

template <class T, int V>
inline vec<T, V> magnitude(vec<T, V> x) { return x < vec<T, V>{} ? -x : x; }

// sigmoid(x), given exp(-|x|).
template <class T, int V>
inline vec<T, V> sigmoid(vec<T, V> x, vec<T, V> e) {
  const vec<T, V> large = (T)1 / ((T)1 + e);
  return x < vec<T, V>{} ? e * large : large;
}

// tanh(x), given exp(-|x|); near zero, where the quotient cancels, by Cephes.
template <class T, int V>
inline vec<T, V> tangent(vec<T, V> x, vec<T, V> e) {
  const vec<T, V> q = e * e, wide = ((T)1 - q) / ((T)1 + q), z = x * x;
  vec<T, V> near;
  if (sizeof(T) == 4) {
    near = z * (T)-5.70498872745e-3 + (T)2.06390887954e-2;
    near = near * z + (T)-5.37397155531e-2;
    near = near * z + (T)1.33314422036e-1;
    near = near * z + (T)-3.33332819422e-1;
  } else {
    near = ((z * (T)-9.64399179425052238628e-1 + (T)-9.92877231001918586564e1) * z + (T)-1.61468768441708447952e3) /
           (((z + (T)1.12811678491632931402e2) * z + (T)2.23548839060100448583e3) * z + (T)4.84406305325125486048e3);
  }
  near = near * z * x + x;
  const vec<T, V> limit = vec<T, V>{} + (T)0.625;
  return magnitude<T, V>(x) < limit ? near : (x < vec<T, V>{} ? -wide : wide);
}

constexpr Int TANH = 1, RELU = 2, SIGMOID = 4, IDENTITY = 8;  // which activations of an edge run
constexpr Int NO_NORM = 0, BY_BATCH = 1;                      // else by running statistics
constexpr int VECTORS = 4;                                    // of columns that are worked on at once

// The activations of an edge that run, their weighted sum and its derivative.
template <class T, int V>
struct Activated {
  vec<T, V> tanh = {}, relu = {}, sigmoid = {}, sum = {}, slope = {};

  Activated(vec<T, V> z, const T* a, Int uses) {
    const vec<T, V> zero = {};
    vec<T, V> e = {};
    if (uses & (TANH | SIGMOID)) e = exponential<T, V>(-magnitude<T, V>(z));
    if (uses & TANH) {
      tanh = tangent<T, V>(z, e);
      sum += a[0] * tanh;
      slope += a[0] * ((T)1 - tanh * tanh);
    }
    if (uses & RELU) {
      relu = z < zero ? zero : z;
      sum += a[1] * relu;
      slope += z > zero ? zero + a[1] : zero;
    }
    if (uses & SIGMOID) {
      sigmoid = ::sigmoid<T, V>(z, e);
      sum += a[2] * sigmoid;
      slope += a[2] * (sigmoid * ((T)1 - sigmoid));
    }
    if (uses & IDENTITY) {
      sum += a[3] * z;
      slope += a[3];
    }
  }
};

template <class T>
T weight_of(const T* a, Int uses) {
  T sum = 0;
  for (int k = 0; k < 4; k++) sum += uses >> k & 1 ? a[k] : 0;
  return sum;
}

// A node: out = norm(sum_e P_e (1 - c_e) s_e + c_e sum_k a_ek f_k(z_e)), and the same times the mask.
//
// ch: E x B x 2H, c before its sigmoid and z; states: slots x B x H, of which edge e reads slots[e]; a: E x 4.
template <class T, int V>
void node_forward(Int edges, Int lanes, Int width, const T* ch, const T* states, const Int* slots, const T* a,
                  const Int* uses, const T* mask, Int norm, double eps, T* out, T* masked, T* mean, T* rate,
                  T* variance, Int threads) {
  const Int block = V * VECTORS, blocks = (width + block - 1) / block;
#pragma omp parallel for num_threads(threads_for(edges * lanes * width * 32, threads)) schedule(static)
  for (Int k = 0; k < blocks; k++) {
    Buffer<T> sums(lanes * block, (T)0);
    const Int from = k * block;
    for (Int e = 0; e < edges; e++) {
      const T whole = weight_of(a + 4 * e, uses[e]);
      for (Int b = 0; b < lanes; b++) {
        const T* gate = ch + (e * lanes + b) * 2 * width;
        const T* state = states + (slots[e] * lanes + b) * width;
        for (Int v = from, q = 0; q < VECTORS && v < width; v += V, q++) {
          const Int n = width - v;
          const vec<T, V> g = load_some<T, V>(gate + v, n), z = load_some<T, V>(gate + width + v, n);
          const vec<T, V> c = sigmoid<T, V>(g, exponential<T, V>(-magnitude<T, V>(g)));
          const Activated<T, V> f(z, a + 4 * e, uses[e]);
          T* sum = &sums[b * block + q * V];
          const vec<T, V> s = load_some<T, V>(state + v, n);
          store<T, V>(sum, load<T, V>(sum) + whole * (((T)1 - c) * s) + c * f.sum);
        }
      }
    }
    for (Int v = from, q = 0; q < VECTORS && v < width; v += V, q++) {
      const Int n = width - v;
      vec<T, V> m = {}, r = vec<T, V>{} + (T)1;
      if (norm == BY_BATCH) {
        vec<T, V> square = {};
        for (Int b = 0; b < lanes; b++) m += load<T, V>(&sums[b * block + q * V]);
        m /= (T)lanes;
        for (Int b = 0; b < lanes; b++) {
          const vec<T, V> d = load<T, V>(&sums[b * block + q * V]) - m;
          square += d * d;
        }
        square /= (T)lanes;
        for (int i = 0; i < V; i++) r[i] = (T)(1 / std::sqrt((double)square[i] + eps));
        store_some<T, V>(mean + v, m, n);
        store_some<T, V>(rate + v, r, n);
        store_some<T, V>(variance + v, square, n);
      } else if (norm != NO_NORM) {
        m = load_some<T, V>(mean + v, n);
        r = load_some<T, V>(rate + v, n);
      }
      for (Int b = 0; b < lanes; b++) {
        vec<T, V> y = load<T, V>(&sums[b * block + q * V]);
        if (norm != NO_NORM) y = (y - m) * r;
        store_some<T, V>(out + b * width + v, y, n);
        if (mask) store_some<T, V>(masked + b * width + v, y * load_some<T, V>(mask + b * width + v, n), n);
      }
    }
  }
}

// The gradients of a node, from g of its (normalized) output y: of ch, added to those of the states that it reads
// directly, and of a (if it is wanted).
template <class T, int V>
void node_backward(Int edges, Int lanes, Int width, const T* g, const T* y, const T* rate, Int norm, const T* ch,
                   const T* states, const Int* slots, const T* a, const Int* uses, T* dch, T* dstates, T* da,
                   Int threads) {
  const Int block = V * VECTORS, blocks = (width + block - 1) / block;
  std::vector<double> parts(da ? blocks * edges * 4 : 0);
#pragma omp parallel for num_threads(threads_for(edges * lanes * width * 32, threads)) schedule(static)
  for (Int k = 0; k < blocks; k++) {
    Buffer<T> gs(lanes * block, (T)0);
    const Int from = k * block;
    for (Int v = from, q = 0; q < VECTORS && v < width; v += V, q++) {
      const Int n = width - v;
      vec<T, V> mean = {}, product = {}, r = vec<T, V>{} + (T)1;
      if (norm != NO_NORM) r = load_some<T, V>(rate + v, n);
      if (norm == BY_BATCH) {
        for (Int b = 0; b < lanes; b++) {
          const vec<T, V> x = load_some<T, V>(g + b * width + v, n);
          mean += x;
          product += x * load_some<T, V>(y + b * width + v, n);
        }
        mean /= (T)lanes;
        product /= (T)lanes;
      }
      for (Int b = 0; b < lanes; b++) {
        vec<T, V> x = load_some<T, V>(g + b * width + v, n);
        if (norm == BY_BATCH) x -= mean + load_some<T, V>(y + b * width + v, n) * product;
        store<T, V>(&gs[b * block + q * V], x * r);
      }
    }
    for (Int e = 0; e < edges; e++) {
      const T whole = weight_of(a + 4 * e, uses[e]);
      vec<T, V> of_a[4] = {};
      for (Int b = 0; b < lanes; b++) {
        const Int gate = (e * lanes + b) * 2 * width, state = (slots[e] * lanes + b) * width;
        for (Int v = from, q = 0; q < VECTORS && v < width; v += V, q++) {
          const Int n = width - v;
          const vec<T, V> x = load_some<T, V>(ch + gate + v, n), z = load_some<T, V>(ch + gate + width + v, n);
          const vec<T, V> s = load_some<T, V>(states + state + v, n), d = load<T, V>(&gs[b * block + q * V]);
          const vec<T, V> c = sigmoid<T, V>(x, exponential<T, V>(-magnitude<T, V>(x))), rest = d * ((T)1 - c);
          const Activated<T, V> f(z, a + 4 * e, uses[e]);
          const vec<T, V> dc = d * c;
          store_some<T, V>(dch + gate + v, rest * c * (f.sum - whole * s), n);
          store_some<T, V>(dch + gate + width + v, dc * f.slope, n);
          T* to = dstates + state + v;
          store_some<T, V>(to, load_some<T, V>(to, n) + whole * rest, n);
          if (da) {
            const vec<T, V> kept = rest * s;
            of_a[0] += kept + dc * f.tanh;
            of_a[1] += kept + dc * f.relu;
            of_a[2] += kept + dc * f.sigmoid;
            of_a[3] += kept + dc * z;
          }
        }
      }
      if (da)
        for (int j = 0; j < 4; j++)
          for (int i = 0; i < V; i++) parts[(k * edges + e) * 4 + j] += (double)of_a[j][i];
    }
  }
  if (da)
    for (Int i = 0; i < edges * 4; i++) {
      double sum = 0;
      for (Int k = 0; k < blocks; k++) sum += parts[k * edges * 4 + i];
      da[i] = (T)(uses[i / 4] >> (i % 4) & 1 ? sum : 0);
    }
}

// -- the loss of words (oche/text/loss.py) ----------------------------------------------------------------------------

// log(sum(exp(x))) of each row.
template <class T, int V>
void log_sums(Int rows, Int width, const T* x, T* out, Int threads) {
  const T lowest = -std::numeric_limits<T>::infinity();
#pragma omp parallel for num_threads(threads_for(rows * width * 8, threads)) schedule(static)
  for (Int r = 0; r < rows; r++) {
    const T* row = x + r * width;
    T top = lowest;
    vec<T, V> tops = vec<T, V>{} + lowest;
    for (Int v = 0; v < width; v += V) {
      vec<T, V> y = load_some<T, V>(row + v, width - v);
      for (Int i = width - v; i < V; i++) y[i] = lowest;
      tops = y > tops ? y : tops;
    }
    for (int i = 0; i < V; i++) top = tops[i] > top ? tops[i] : top;
    vec<T, V> sums = {};
    for (Int v = 0; v < width; v += V) {
      vec<T, V> y = exponential<T, V>(load_some<T, V>(row + v, width - v) - top);
      for (Int i = width - v; i < V; i++) y[i] = 0;
      sums += y;
    }
    double sum = 0;
    for (int i = 0; i < V; i++) sum += sums[i];
    out[r] = (T)(top + std::log(sum));
  }
}

// g exp(x - sum) of each row, which is the gradient of its `log_sums`.
template <class T, int V>
void shares(Int rows, Int width, const T* x, const T* sums, double g, T* out, Int threads) {
  const vec<T, V> zero = {};
#pragma omp parallel for num_threads(threads_for(rows * width * 8, threads)) schedule(static)
  for (Int r = 0; r < rows; r++) {
    for (Int v = 0; v < width; v += V) {
      const Int n = width - v, at = r * width + v;
      const vec<T, V> y = load_some<T, V>(x + at, n) - sums[r];
      store_some<T, V>(out + at, y < zero + LEAST<T> ? zero : (T)g * exponential<T, V>(y), n);
    }
  }
}

}  // namespace

// One entry per kernel and number type; V is the widest vector that divides the channels.
#define BY_WIDTH(WIDEST, CALL)                               \
  do {                                                       \
    if (c % WIDEST == 0) { constexpr int V = WIDEST; CALL; } \
    else if (c % 8 == 0) { constexpr int V = 8; CALL; }      \
    else { constexpr int V = 4; CALL; }                      \
  } while (0)

#define ENTRIES(T, WIDEST, SUFFIX)                                                                                     \
  extern "C" void round_forward_##SUFFIX(const Shape* a, const T* x, const T* in_mean, const T* in_rate, const T* dw,  \
                                         const T* pw, double eps, T* y, T* mean, T* rate, T* variance, Int threads) {  \
    const Int c = a->c;                                                                                                \
    BY_WIDTH(WIDEST, (round_forward<T, V>(*a, x, in_mean, in_rate, dw, pw, eps, y, mean, rate, variance, threads)));   \
  }                                                                                                                    \
  extern "C" void round_backward_##SUFFIX(const Shape* a, const T* x, const T* in_mean, const T* in_rate, const T* dw, \
                                          const T* pw, const T* g, const T* weight, const T* sums, const T* y,         \
                                          const T* mean, const T* rate, T* dx, Int add, T* in_sums, T* ddw, T* dpw,    \
                                          Int threads) {                                                               \
    const Int c = a->c, n = a->n * a->ho * a->wo;                                                                      \
    BY_WIDTH(WIDEST,                                                                                                   \
             (round_backward<T, V>(*a, x, in_mean, in_rate, dw, pw,                                                    \
                                   Pull<T, V>(1, &g, weight ? &weight : nullptr, sums ? &sums : nullptr, y, mean,      \
                                              rate, n, c),                                                             \
                                   dx, add, in_sums, ddw, dpw, threads)));                                             \
  }                                                                                                                    \
  extern "C" void depthwise_backward_##SUFFIX(const Shape* a, const T* x, const T* w, const T* dy, T* dx, T* dw,       \
                                              Int threads) {                                                           \
    const Int c = a->c;                                                                                                \
    BY_WIDTH(WIDEST, (depthwise_backward<T, V>(*a, x, w, dy, dx, dw, threads)));                                       \
  }                                                                                                                    \
  extern "C" void combine_##SUFFIX(Int pixels, Int c, Int count, const T* const* in, const T* const* weight,           \
                                   const T* const* mean, const T* const* rate, T* out, Int threads) {                  \
    BY_WIDTH(WIDEST, (combine<T, V>(pixels, c, count, in, weight, mean, rate, out, threads)));                         \
  }                                                                                                                    \
  extern "C" void products_##SUFFIX(Int n, Int pixels, Int c, const T* g, const T* y, const T* mean, const T* rate,    \
                                    T* sums, T* da, Int threads) {                                                     \
    BY_WIDTH(WIDEST, (products<T, V>(n, pixels, c, g, y, mean, rate, sums, da, threads)));                             \
  }                                                                                                                    \
  extern "C" void measure_##SUFFIX(Int n, Int pixels, Int c, const T* y, double eps, T* mean, T* rate, T* variance,    \
                                   Int threads) {                                                                      \
    BY_WIDTH(WIDEST, (measure<T, V>(n, pixels, c, y, eps, mean, rate, variance, threads)));                            \
  }                                                                                                                    \
  extern "C" void move_##SUFFIX(Int count, Int c, double momentum, const T* const* mean, const T* const* variance,     \
                                T* const* running_mean, T* const* running_variance, Int* const* batches, Int) {        \
    move<T>(count, c, momentum, mean, variance, running_mean, running_variance, batches);                              \
  }                                                                                                                    \
  extern "C" void pull_##SUFFIX(Int n, Int pixels, Int c, const T* g, const T* weight, const T* sums, const T* y,      \
                                const T* mean, const T* rate, T* dy, Int threads) {                                    \
    BY_WIDTH(WIDEST, (pull<T, V>(n, pixels, Pull<T, V>(1, &g, &weight, sums ? &sums : nullptr, y, mean, rate,          \
                                                       n * pixels, c), dy, threads)));                                 \
  }                                                                                                                    \
  extern "C" void pool_forward_##SUFFIX(const Shape* a, const T* x, double eps, T* y, uint8_t* places, T* mean,        \
                                        T* rate, T* variance, Int threads) {                                           \
    const Int c = a->c;                                                                                                \
    BY_WIDTH(WIDEST, (pool_forward<T, V>(*a, x, eps, y, places, mean, rate, variance, threads)));                      \
  }                                                                                                                    \
  extern "C" void pool_backward_##SUFFIX(const Shape* a, Int count, const T* const* g, const T* const* weight,         \
                                         const T* const* sums, const T* y, const T* mean, const T* rate,               \
                                         const uint8_t* places, T* dx, Int threads) {                                  \
    const Int c = a->c, n = a->n * a->ho * a->wo;                                                                      \
    BY_WIDTH(WIDEST, (pool_backward<T, V>(*a, Pull<T, V>(count, g, weight, sums, y, mean, rate, n, c), places, dx,     \
                                          threads)));                                                                  \
  }                                                                                                                    \
  extern "C" void node_forward_##SUFFIX(Int edges, Int lanes, Int width, const T* ch, const T* states,                 \
                                        const Int* slots, const T* a, const Int* uses, const T* mask, Int norm,        \
                                        double eps, T* out, T* masked, T* mean, T* rate, T* variance, Int threads) {   \
    node_forward<T, WIDEST>(edges, lanes, width, ch, states, slots, a, uses, mask, norm, eps, out, masked, mean,       \
                            rate, variance, threads);                                                                  \
  }                                                                                                                    \
  extern "C" void node_backward_##SUFFIX(Int edges, Int lanes, Int width, const T* g, const T* y, const T* rate,       \
                                         Int norm, const T* ch, const T* states, const Int* slots, const T* a,         \
                                         const Int* uses, T* dch, T* dstates, T* da, Int threads) {                    \
    node_backward<T, WIDEST>(edges, lanes, width, g, y, rate, norm, ch, states, slots, a, uses, dch, dstates, da,      \
                             threads);                                                                                 \
  }                                                                                                                    \
  extern "C" void log_sums_##SUFFIX(Int rows, Int width, const T* x, T* out, Int threads) {                            \
    log_sums<T, WIDEST>(rows, width, x, out, threads);                                                                 \
  }                                                                                                                    \
  extern "C" void shares_##SUFFIX(Int rows, Int width, const T* x, const T* sums, double g, T* out, Int threads) {     \
    shares<T, WIDEST>(rows, width, x, sums, g, out, threads);                                                          \
  }

ENTRIES(float, 16, f32)
ENTRIES(double, 8, f64)
