#include "triton/pipeline.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>

namespace beampipe {
namespace {

std::atomic<int> busy{0};

}  // namespace

int cores() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? std::max(1, CPU_COUNT(&allowed)) : 1;
}

Threads::Threads(int wanted) {
  static const int all = cores();
  int held = busy.load();
  do {
    count_ = std::max(1, std::min(wanted, all - held));
  } while (!busy.compare_exchange_weak(held, held + count_));
}

Threads::~Threads() { busy -= count_; }

}  // namespace beampipe
