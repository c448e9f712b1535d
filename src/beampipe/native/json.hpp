// JSON as Python writes it: parsed as a whole, then read by key. Getters throw a ConfigError that names the key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace beampipe {

class Json {
public:
  /// The value that a text in UTF-8 holds. Arrays and objects may be nested 64 deep. As in Python, NaN,
  /// Infinity and -Infinity are numbers. Unlike in Python, a repeated key of an object is an error.
  static Json parse(std::string_view text);

  bool is_null() const;
  /// The value of a key of an object, or nullptr.
  const Json* find(std::string_view key) const;
  const Json& at(std::string_view key) const;

  const std::string& text() const;
  double number() const;
  /// A number written without fraction and exponent, within 64 bits.
  std::int64_t whole() const;
  bool boolean() const;
  const std::vector<Json>& items() const;
  const std::vector<std::pair<std::string, Json>>& members() const;

private:
  friend class JsonReader;

  struct Number {
    double value;
    bool is_whole;
    std::int64_t whole;
  };
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  template <typename T>
  const T& as(const char* expected) const;

  std::string key_;  // its key in the object that contains it; empty for others
  std::variant<std::monostate, bool, Number, std::string, Array, Object> value_;
};

}  // namespace beampipe
