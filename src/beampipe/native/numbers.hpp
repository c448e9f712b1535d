// Numbers as text, independent of the locale of the program. GCC has no std::to_chars of floating point before version 11.
#pragma once

#include <locale.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace beampipe {

/// The locale "C", which is never freed.
inline locale_t c_locale() {
  static const locale_t locale = newlocale(LC_ALL_MASK, "C", nullptr);
  return locale;
}

/// The number at the start of a text; `*end` is what follows it, the start if there is none.
inline double parse_number(const char* text, char** end) { return strtod_l(text, end, c_locale()); }

/// A number by a format of printf with one precision, like "%.*f".
inline std::string print_number(const char* format, int precision, double number) {
  char text[400];
  const locale_t former = uselocale(c_locale());
  const int length = std::snprintf(text, sizeof text, format, precision, number);
  uselocale(former);
  return {text, static_cast<std::size_t>(length)};
}

}  // namespace beampipe
