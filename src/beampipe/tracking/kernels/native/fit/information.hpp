// What the hits seen so far say of a helix: chi2(x) = x^T matrix x - 2 vector^T x + constant, for a change x.
#pragma once

#include <cmath>

#include "fit/helix.hpp"

namespace beampipe {

// A row of parameters, or one of their matrix; what goes past the fifth stays 0.
struct Row {
  double value[kWidth] = {};

  double operator[](int i) const { return value[i]; }
  void add(double factor, const double* row) {
#pragma omp simd
    for (int j = 0; j < kWidth; ++j) value[j] += factor * row[j];
  }
  double dot(const double* row) const {
    double sum = 0;
    for (int j = 0; j < kParameters; ++j) sum += value[j] * row[j];
    return sum;
  }
};

struct Information {
  Row matrix[kParameters];  // symmetric
  Row vector;
  double constant = 0;

  void add(const double* by_helix, double residual, double variance) {
    const double weight = 1 / variance;
    for (int i = 0; i < kParameters; ++i) matrix[i].add(weight * by_helix[i], by_helix);
    vector.add(weight * residual, by_helix);
    constant += weight * residual * residual;
  }

  // As seen from inside two kicks of unknown size, whose standard deviations are the lengths of a and b.
  void scatter(const double* a, const double* b) {
    const Row of_a = times(a), of_b = times(b);
    const double aa = 1 + of_a.dot(a), ab = of_a.dot(b), bb = 1 + of_b.dot(b);
    const double va = vector.dot(a), vb = vector.dot(b);
    const double inverse = 1 / (aa * bb - ab * ab);
    const double iaa = bb * inverse, iab = -ab * inverse, ibb = aa * inverse;
    const double wa = iaa * va + iab * vb, wb = iab * va + ibb * vb;
    for (int i = 0; i < kParameters; ++i) {
      matrix[i].add(-(iaa * of_a[i] + iab * of_b[i]), of_a.value);
      matrix[i].add(-(iab * of_a[i] + ibb * of_b[i]), of_b.value);
    }
    vector.add(-wa, of_a.value);
    vector.add(-wb, of_b.value);
    constant -= wa * va + wb * vb;
  }

  // As seen from inside a known change of the helix.
  void shift(const double* change) {
    const Row moved = times(change);
    constant += moved.dot(change) - 2 * vector.dot(change);
    vector.add(-1, moved.value);
  }

  Row times(const double* change) const {
    Row product;
    for (int j = 0; j < kParameters; ++j) product.add(change[j], matrix[j].value);
    return product;
  }

  // The best change, its covariance and the chi2 that is left; false where the hits do not fix all parameters.
  bool solve(double* step, double (*covariance)[kParameters], double* chi2, double* size2) const {
    double lower[kParameters][kParameters], inverse[kParameters][kParameters] = {};
    for (int i = 0; i < kParameters; ++i)  // Cholesky: matrix = lower lower^T
      for (int j = 0; j <= i; ++j) {
        double sum = matrix[i][j];
        for (int k = 0; k < j; ++k) sum -= lower[i][k] * lower[j][k];
        if (i == j && !(sum > 0)) return false;
        lower[i][j] = i == j ? std::sqrt(sum) : sum / lower[j][j];
      }
    for (int j = 0; j < kParameters; ++j)
      for (int i = j; i < kParameters; ++i) {
        double sum = i == j;
        for (int k = j; k < i; ++k) sum -= lower[i][k] * inverse[k][j];
        inverse[i][j] = sum / lower[i][i];
      }
    *size2 = 0;
    for (int i = 0; i < kParameters; ++i) {
      step[i] = 0;
      for (int j = 0; j < kParameters; ++j) {
        covariance[i][j] = 0;
        for (int k = i > j ? i : j; k < kParameters; ++k) covariance[i][j] += inverse[k][i] * inverse[k][j];
        step[i] += covariance[i][j] * vector[j];
      }
      *size2 += step[i] * vector[i];
    }
    *chi2 = constant - *size2;
    return std::isfinite(*chi2);
  }
};

}  // namespace beampipe
