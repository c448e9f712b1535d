// Exceptions of the C++ code. In Python each becomes the error of the same name in beampipe.errors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

// The libraries of an instruction set throw across their border, so their types must be visible there.
#define BEAMPIPE_VISIBLE __attribute__((visibility("default")))

namespace beampipe {

/// Invalid input data.
class BEAMPIPE_VISIBLE InputError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;

  /// The reply to a client: the message, and for kinds of this error their name and fields, as JSON. In Python,
  /// beampipe.errors.to_wire writes the same and from_wire reads it.
  std::string wire_text() const {
    const std::string kind = name();
    return kind == "InputError" ? what() : std::string(what()) + R"( {"error": ")" + kind + "\"" + fields() + "}";
  }
  /// The class of this error in beampipe.errors.
  virtual const char* name() const { return "InputError"; }

private:
  virtual std::string fields() const { return ""; }
};

/// NaN or infinity among the coordinates.
class BEAMPIPE_VISIBLE NotFiniteError : public InputError {
public:
  using InputError::InputError;
  const char* name() const override { return "NotFiniteError"; }
};

/// More than the stated limit.
class BEAMPIPE_VISIBLE TooLargeError : public InputError {
public:
  using InputError::InputError;
  const char* name() const override { return "TooLargeError"; }
};

/// Hits of another detector than the pipeline was made for, or in other units.
class BEAMPIPE_VISIBLE LayoutError : public InputError {
public:
  LayoutError(const std::string& message, std::int64_t n_hits, std::int64_t n_outside, std::string what_would_fit)
      : InputError(message), hits(n_hits), outside(n_outside), hint(std::move(what_would_fit)) {}

  const std::int64_t hits, outside;  // number of hits of the event; of them on no layer
  const std::string hint;            // change that would make the hits fit; plain ASCII without quotes
  const char* name() const override { return "LayoutError"; }

private:
  std::string fields() const override {
    return R"(, "hits": )" + std::to_string(hits) + R"(, "outside": )" + std::to_string(outside) + R"(, "hint": ")" +
           hint + "\"";
  }
};

/// A file is missing, truncated or of another kind.
class BEAMPIPE_VISIBLE FileError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// A configuration is refused.
class BEAMPIPE_VISIBLE ConfigError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

}  // namespace beampipe
