// What the hits seen so far say of a helix: chi2(x) = x^T matrix x - 2 vector^T x + constant, for a change x.
#pragma once

#include <cmath>

#include "fit/helix.hpp"

namespace beampipe {

struct Information {
  double matrix[kParameters][kParameters] = {};
  double vector[kParameters] = {};
  double constant = 0;

  void add(const double* by_helix, double residual, double variance) {
    const double weight = 1 / variance;
    for (int i = 0; i < kParameters; ++i) {
      const double weighted = weight * by_helix[i];
      for (int j = 0; j < kParameters; ++j) matrix[i][j] += weighted * by_helix[j];
      vector[i] += weighted * residual;
    }
    constant += weight * residual * residual;
  }

  // As seen from inside two kicks of unknown size, whose standard deviations are the lengths of a and b.
  void scatter(const double* a, const double* b) {
    double of_a[kParameters], of_b[kParameters];
    double aa = 1, ab = 0, bb = 1, va = 0, vb = 0;
    for (int i = 0; i < kParameters; ++i) {
      of_a[i] = of_b[i] = 0;
      for (int j = 0; j < kParameters; ++j) of_a[i] += matrix[i][j] * a[j], of_b[i] += matrix[i][j] * b[j];
      va += vector[i] * a[i], vb += vector[i] * b[i];
    }
    for (int i = 0; i < kParameters; ++i) aa += a[i] * of_a[i], ab += a[i] * of_b[i], bb += b[i] * of_b[i];
    const double inverse = 1 / (aa * bb - ab * ab);
    const double iaa = bb * inverse, iab = -ab * inverse, ibb = aa * inverse;
    const double wa = iaa * va + iab * vb, wb = iab * va + ibb * vb;
    for (int i = 0; i < kParameters; ++i) {
      const double left_a = iaa * of_a[i] + iab * of_b[i], left_b = iab * of_a[i] + ibb * of_b[i];
      for (int j = 0; j < kParameters; ++j) matrix[i][j] -= left_a * of_a[j] + left_b * of_b[j];
      vector[i] -= wa * of_a[i] + wb * of_b[i];
    }
    constant -= wa * va + wb * vb;
  }

  // As seen from inside a known change of the helix.
  void shift(const double* change) {
    double linear = 0, square = 0;
    double moved[kParameters];
    for (int i = 0; i < kParameters; ++i) {
      moved[i] = 0;
      for (int j = 0; j < kParameters; ++j) moved[i] += matrix[i][j] * change[j];
      linear += vector[i] * change[i], square += moved[i] * change[i];
    }
    for (int i = 0; i < kParameters; ++i) vector[i] -= moved[i];
    constant += square - 2 * linear;
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
