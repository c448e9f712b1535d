// What C++ throws on purpose becomes the error of the same name in beampipe.errors.
#include "native/errors.hpp"

#include <string_view>

#include "bindings/arrays.hpp"

namespace {

nb::object error_type(const char* name) { return nb::module_::import_("beampipe.errors").attr(name); }

void raise(const char* name, const std::exception& error) {
  const std::string_view text = error.what();  // it may name a file, and names of files may hold any bytes
  const nb::object message = nb::steal(PyUnicode_DecodeUTF8(text.data(), text.size(), "replace"));
  PyErr_SetObject(error_type(name).ptr(), message.ptr());
}

void raise(const beampipe::LayoutError& error) {
  const nb::object type = error_type("LayoutError");
  const nb::object made =
      type(error.what(), "hits"_a = error.hits, "outside"_a = error.outside, "hint"_a = error.hint.c_str());
  PyErr_SetObject(type.ptr(), made.ptr());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const beampipe::NotFiniteError& error) {
    raise("NotFiniteError", error);
  } catch (const beampipe::TooLargeError& error) {
    raise("TooLargeError", error);
  } catch (const beampipe::LayoutError& error) {
    raise(error);
  } catch (const beampipe::InputError& error) {
    raise("InputError", error);
  } catch (const beampipe::FileError& error) {
    raise("FileError", error);
  } catch (const beampipe::ConfigError& error) {
    raise("ConfigError", error);
  }
}

}  // namespace

void translate_errors() { nb::register_exception_translator(&translate); }
