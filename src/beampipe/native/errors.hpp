// What C++ throws on purpose. Python knows each by the same name (beampipe.errors).
#pragma once

#include <stdexcept>

// The libraries of an instruction set throw across their border, so their types must be visible there.
#define BEAMPIPE_VISIBLE __attribute__((visibility("default")))

namespace beampipe {

/// The data handed in cannot be used.
class BEAMPIPE_VISIBLE InputError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// NaN or infinity among the coordinates.
class BEAMPIPE_VISIBLE NotFiniteError : public InputError {
public:
  using InputError::InputError;
};

/// More than the stated limit.
class BEAMPIPE_VISIBLE TooLargeError : public InputError {
public:
  using InputError::InputError;
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
