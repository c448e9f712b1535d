// The kernels of an instruction set: which sets this CPU has, and the library of one of them.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace beampipe {

/// Names of the instruction sets that kernels were built for (BEAMPIPE_ISA of CMakeLists.txt), worst first.
std::vector<std::string> compiled_isas();

/// Names of those that this CPU has, worst first.
std::vector<std::string> supported_isas();

/// The requested name, or the best one of them if it is empty.
/// Throws std::invalid_argument if it is none of them.
std::string chosen_isa(const std::string& wish);

/// Opens the library _kernels_<isa>.so in a folder. It stays open for the life of the process.
/// Throws std::invalid_argument if this CPU does not have that set, FileError if there is no such library.
const Table& open_kernels(const std::string& folder, const std::string& isa);

/// Folder of the library that this code is linked into.
std::string folder_of_this_library();

/// The kernels in that folder, of the instruction set in BEAMPIPE_ISA or else the best one that this CPU has.
const Table& kernels_of_this_library();

}  // namespace beampipe
