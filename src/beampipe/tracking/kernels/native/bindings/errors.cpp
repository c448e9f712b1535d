// What C++ throws on purpose becomes the error of the same name in beampipe.errors.
#include "native/errors.hpp"

#include "bindings/arrays.hpp"

namespace {

void raise(const char* name, const std::exception& error) {
  PyErr_SetString(nb::module_::import_("beampipe.errors").attr(name).ptr(), error.what());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const beampipe::NotFiniteError& error) {
    raise("NotFiniteError", error);
  } catch (const beampipe::TooLargeError& error) {
    raise("TooLargeError", error);
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
