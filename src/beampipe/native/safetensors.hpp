// Files of tensors by name, as safetensors writes them: a length, a header in JSON, then the bytes of all tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace beampipe {

/// One tensor of a file that is open. Its bytes may lie on any address: copy them before they are read as numbers.
struct TensorView {
  std::string dtype;  // as the file names it: F32, I32, ...
  std::vector<std::int64_t> shape;
  const std::byte* data;
  std::size_t bytes;
};

class Safetensors {
public:
  /// Reads a file. Throws FileError if it is missing, cut short, or if its header and its bytes do not agree.
  explicit Safetensors(const std::string& path);

  bool has(const std::string& name) const;
  /// The tensor of that name; throws FileError if there is none.
  const TensorView& at(const std::string& name) const;
  /// The names of all tensors, sorted.
  std::vector<std::string> names() const;

private:
  std::string path_;
  std::vector<std::byte> content_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace beampipe
