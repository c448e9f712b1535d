#include "native/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "native/errors.hpp"
#include "native/numbers.hpp"

namespace beampipe {
namespace {

constexpr int kMostNested = 64;
constexpr const char* kKinds[] = {"null", "a boolean", "a number", "a text", "an array", "an object"};

void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto rest = [&](int shift) { put(0x80 | ((code >> shift) & 0x3F)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6)), rest(0);
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12)), rest(6), rest(0);
  } else {
    put(0xF0 | (code >> 18)), rest(12), rest(6), rest(0);
  }
}

/// Bytes of the character in UTF-8 that a text starts with; 0 if it starts with none.
std::size_t utf8_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const std::size_t size = first < 0x80   ? 1
                           : first < 0xC2 ? 0
                           : first < 0xE0 ? 2
                           : first < 0xF0 ? 3
                           : first < 0xF5 ? 4
                                          : 0;
  if (size > text.size()) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned second =
      size > 1 ? byte(1) : 0;  // no longer spelling than needed, no surrogate, nothing past U+10FFFF
  const bool wrong = (first == 0xE0 && second < 0xA0) || (first == 0xED && second >= 0xA0) ||
                     (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90);
  return wrong ? 0 : size;
}

}  // namespace

/// Reads from left to right; `at_` is the next byte.
class JsonReader {
public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json whole_text() {
    Json json = value(0);
    skip_space();
    if (at_ != text_.size()) refuse("the end");
    return json;
  }

private:
  [[noreturn]] void refuse(const std::string& expected) const {
    const std::string got = at_ < text_.size() ? "something else" : "the end";
    throw ConfigError("json: got " + got + " at byte " + std::to_string(at_) + ", expected " + expected);
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void need(std::string_view word) {
    skip_space();
    if (!take(word)) refuse("'" + std::string(word) + "'");
  }

  Json value(int depth) {
    if (depth > kMostNested) refuse("arrays and objects at most " + std::to_string(kMostNested) + " deep");
    skip_space();
    Json json;
    if (peek() == '{') {
      json.value_ = object(depth);
    } else if (peek() == '[') {
      json.value_ = array(depth);
    } else if (peek() == '"') {
      json.value_ = string();
    } else if (take("true")) {
      json.value_ = true;
    } else if (take("false")) {
      json.value_ = false;
    } else if (!take("null")) {
      json.value_ = number();
    }
    return json;
  }

  Json::Array array(int depth) {
    Json::Array items;
    need("[");
    skip_space();
    if (take("]")) return items;
    do items.push_back(value(depth + 1));
    while (comma());
    need("]");
    return items;
  }

  Json::Object object(int depth) {
    Json::Object members;
    std::set<std::string> keys;
    need("{");
    skip_space();
    if (take("}")) return members;
    do {
      skip_space();
      std::string key = string();
      if (!keys.insert(key).second) refuse("each key once, not '" + key + "' again");
      need(":");
      Json member = value(depth + 1);
      member.key_ = key;
      members.emplace_back(std::move(key), std::move(member));
    } while (comma());
    need("}");
    return members;
  }

  bool comma() {
    skip_space();
    return take(",");
  }

  std::string string() {
    std::string text;
    if (!take("\"")) refuse("a text in double quotes");
    while (!take("\"")) {
      if (at_ >= text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) refuse("the end of a text");
      if (take("\\")) {
        escape(text);
      } else {
        const std::size_t size = utf8_size(text_.substr(at_));
        if (size == 0) refuse("text in UTF-8");
        text.append(text_.substr(at_, size));
        at_ += size;
      }
    }
    return text;
  }

  void escape(std::string& text) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (take("u")) {
      std::uint32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {  // half of a pair
        const std::uint32_t low = hex4();
        if (low < 0xDC00 || low > 0xDFFF) refuse("the second half of a pair of surrogates");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
      if (code >= 0xD800 && code < 0xE000) refuse("a pair of surrogates");
      return append_utf8(text, code);
    }
    const std::size_t which = at_ < text_.size() ? kNames.find(text_[at_]) : std::string_view::npos;
    if (which == std::string_view::npos) refuse("an escape that JSON knows");
    text.push_back(kMeanings[which]);
    ++at_;
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc{} || digits.size() != 4 || end != digits.data() + 4) refuse("four hexadecimal digits");
    at_ += 4;
    return code;
  }

  Json::Number number() {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (take("NaN")) return {std::numeric_limits<double>::quiet_NaN(), false, 0};
    if (take("Infinity")) return {kInfinity, false, 0};
    if (take("-Infinity")) return {-kInfinity, false, 0};
    const std::string token(number_token());
    Json::Number found{};
    const char *first = token.data(), *last = first + token.size();
    found.value = parse_number(first, nullptr);
    if (std::isinf(found.value)) refuse("a number that fits in 64 bits");
    const auto integer = std::from_chars(first, last, found.whole);
    found.is_whole = integer.ec == std::errc{} && integer.ptr == last;
    at_ += token.size();
    return found;
  }

  /// The characters of a number as JSON spells it: -0.5e+3, but not +1, 01, .5 or 1.
  std::string_view number_token() const {
    const std::string_view rest = text_.substr(at_);
    std::size_t i = 0;
    const auto digits = [&] {
      const std::size_t first = i;
      while (i < rest.size() && rest[i] >= '0' && rest[i] <= '9') ++i;
      return i - first;
    };
    const auto one_of = [&](std::string_view set) {
      const bool there = i < rest.size() && set.find(rest[i]) != std::string_view::npos;
      i += there;
      return there;
    };
    one_of("-");
    const bool zero = i < rest.size() && rest[i] == '0';
    const std::size_t n = digits();
    if (n == 0 || (zero && n > 1)) refuse("a value");
    if (one_of(".") && digits() == 0) refuse("a digit after the point of a number");
    if (one_of("eE")) {
      one_of("+-");
      if (digits() == 0) refuse("a digit in the exponent of a number");
    }
    return rest.substr(0, i);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonReader(text).whole_text(); }

template <typename T>
const T& Json::as(const char* expected) const {
  if (const T* value = std::get_if<T>(&value_)) return *value;
  throw ConfigError((key_.empty() ? "json" : key_) + ": got " + kKinds[value_.index()] + ", expected " + expected);
}

bool Json::is_null() const { return std::holds_alternative<std::monostate>(value_); }

const Json* Json::find(std::string_view key) const {
  const Object& all = members();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& member) { return member.first == key; });
  return found == all.end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  throw ConfigError((key_.empty() ? "json" : key_) + ": got no key '" + std::string(key) + "', expected it");
}

const std::string& Json::text() const { return as<std::string>("a text"); }

double Json::number() const { return as<Number>("a number").value; }

std::int64_t Json::whole() const {
  const Number& number = as<Number>("a whole number");
  if (number.is_whole) return number.whole;
  throw ConfigError((key_.empty() ? "json" : key_) + ": got another number, expected a whole one");
}

bool Json::boolean() const { return as<bool>("a boolean"); }

const std::vector<Json>& Json::items() const { return as<Array>("an array"); }

const std::vector<std::pair<std::string, Json>>& Json::members() const { return as<Object>("an object"); }

}  // namespace beampipe
