#include "native/safetensors.hpp"

#include <fstream>
#include <map>
#include <string_view>

#include "native/errors.hpp"
#include "native/json.hpp"

namespace beampipe {
namespace {

constexpr std::size_t kLengthBytes = 8;                   // of the length of the header
constexpr std::size_t kMostHeader = 10'000'000;           // ours have some thousand bytes
constexpr std::size_t kMostBytes = std::size_t{4} << 30;  // of a file; ours have less than a million

const std::map<std::string, std::size_t, std::less<>> kItemBytes = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},
    {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4},     {"U64", 8},     {"I64", 8}, {"F64", 8}};

[[noreturn]] void refuse(const std::string& path, const std::string& got, const std::string& expected) {
  throw FileError(path + ": got " + got + ", expected " + expected);
}

std::vector<std::byte> read_whole(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) refuse(path, "no readable file", "safetensors");
  if (static_cast<std::size_t>(size) > kMostBytes) refuse(path, "more than 4 GB", "weights of at most that size");
  std::vector<std::byte> content(static_cast<std::size_t>(size));
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(content.data()), size)) refuse(path, "a file that ends early", "safetensors");
  return content;
}

/// The bytes that a tensor of that type and shape takes.
std::size_t bytes_of(const std::string& path, const std::string& name, const TensorView& tensor) {
  const auto item = kItemBytes.find(tensor.dtype);
  if (item == kItemBytes.end()) refuse(path, "dtype " + tensor.dtype + " of " + name, "F32, I32 or another known one");
  std::size_t bytes = item->second;
  for (const std::int64_t length : tensor.shape)
    if (length < 0 || __builtin_mul_overflow(bytes, static_cast<std::size_t>(length), &bytes))
      refuse(path, "an impossible shape of " + name, "lengths whose product fits in the file");
  return bytes;
}

TensorView view_of(const std::string& path, const std::string& name, const Json& entry, const std::byte* data,
                   std::size_t n_bytes) {
  TensorView tensor{entry.at("dtype").text(), {}, nullptr, 0};
  for (const Json& length : entry.at("shape").items()) tensor.shape.push_back(length.whole());
  const std::vector<Json>& offsets = entry.at("data_offsets").items();
  if (offsets.size() != 2) refuse(path, std::to_string(offsets.size()) + " offsets of " + name, "first and last");
  const std::int64_t first = offsets[0].whole(), last = offsets[1].whole();
  if (first < 0 || last < first || static_cast<std::size_t>(last) > n_bytes)
    refuse(path, "offsets of " + name + " outside the file", "a whole file");
  tensor.data = data + first;
  tensor.bytes = static_cast<std::size_t>(last - first);
  if (bytes_of(path, name, tensor) != tensor.bytes)
    refuse(path, std::to_string(tensor.bytes) + " bytes of " + name, "as many as its shape needs");
  return tensor;
}

}  // namespace

Safetensors::Safetensors(const std::string& path) : path_(path), content_(read_whole(path)) {
  std::uint64_t header = 0;
  if (content_.size() < kLengthBytes) refuse(path, "a file of a few bytes", "safetensors");
  for (std::size_t i = kLengthBytes; i-- > 0;) header = header << 8 | std::to_integer<std::uint64_t>(content_[i]);
  if (header > kMostHeader || header > content_.size() - kLengthBytes)
    refuse(path, "a header longer than the file", "safetensors");
  const std::byte* data = content_.data() + kLengthBytes + header;
  const std::size_t n_bytes = content_.size() - kLengthBytes - header;
  try {
    const Json entries =
        Json::parse({reinterpret_cast<const char*>(content_.data()) + kLengthBytes, static_cast<std::size_t>(header)});
    for (const auto& [name, entry] : entries.members())
      if (name != "__metadata__") tensors_.emplace(name, view_of(path, name, entry, data, n_bytes));
  } catch (const ConfigError& error) {
    refuse(path, std::string("a damaged header (") + error.what() + ")", "safetensors");
  }
}

bool Safetensors::has(const std::string& name) const { return tensors_.count(name) > 0; }

const TensorView& Safetensors::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) refuse(path_, "no tensor " + name, "it beside the others");
  return found->second;
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

}  // namespace beampipe
