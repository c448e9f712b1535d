// The cores of the process, which all models and instances share.
#pragma once

namespace beampipe {

/// Number of cores that this process may use, at least 1.
int cores();

/// Threads for one call, given back at the end of its scope. All calls together hold as many as there are cores, and
/// one each at least: a call that is alone has them all, and many calls at once do not get in each other's way.
class Threads {
public:
  /// As many as are free, `wanted` at most.
  explicit Threads(int wanted);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

private:
  int count_;
};

}  // namespace beampipe
