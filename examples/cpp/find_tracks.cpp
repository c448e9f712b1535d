// Tracks of one event from a Triton server: HTTP/1.1 with the binary tensors of the KServe v2 protocol, by a socket.
//
//   g++ -std=c++17 -O2 find_tracks.cpp -o find_tracks
//   ./find_tracks HOST PORT MODEL event.csv        event.csv: r [mm], phi [rad], z [mm], one hit per line, no header
//
// Prints the number of tracks, then one label per hit, -1 for a hit on no track. For a model without a batch axis whose
// FEATURE_SCALE is mm.
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors travel little-endian");

std::vector<float> read_hits(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": no such file");
  std::vector<float> hits;
  for (std::string line; std::getline(file, line);) {
    float r, phi, z;
    if (line.empty()) continue;
    if (std::sscanf(line.c_str(), "%f,%f,%f", &r, &phi, &z) != 3)
      throw std::runtime_error(path + ": got '" + line + "', expected r,phi,z");
    hits.insert(hits.end(), {r, phi, z});
  }
  return hits;
}

int connect_to(const char* host, const char* port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, port, &hints, &found) != 0) throw std::runtime_error(std::string(host) + ": unknown host");
  int descriptor = -1;
  for (addrinfo* at = found; at != nullptr && descriptor < 0; at = at->ai_next) {
    descriptor = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
    timeval limit{60, 0};  // no read or write waits longer than a minute
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(descriptor, at->ai_addr, at->ai_addrlen) == 0) break;
    close(descriptor);
    descriptor = -1;
  }
  freeaddrinfo(found);
  if (descriptor < 0) throw std::runtime_error(std::string(host) + ":" + port + ": nobody answers");
  return descriptor;
}

void send_all(int descriptor, const void* data, size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t sent = send(descriptor, at, size, MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("the server stopped reading");
    at += sent, size -= sent;
  }
}

// The value of a header, names compared without case; empty if it is not there.
std::string header(const std::string& head, std::string name) {
  auto lower = [](std::string text) { return std::transform(text.begin(), text.end(), text.begin(), ::tolower), text; };
  const size_t at = lower(head).find("\r\n" + lower(name) + ":");
  if (at == std::string::npos) return "";
  const size_t begin = head.find_first_not_of(' ', at + name.size() + 3);
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

std::vector<int64_t> find_tracks(int descriptor, const std::string& host, const std::string& model,
                                 const std::vector<float>& hits) {
  const size_t n_hits = hits.size() / 3, n_bytes = hits.size() * sizeof(float);
  const std::string json = "{\"inputs\":[{\"name\":\"FEATURES\",\"datatype\":\"FP32\",\"shape\":[" +
                           std::to_string(n_hits) +
                           ",3],\"parameters\":{\"binary_data_size\":" + std::to_string(n_bytes) +
                           "}}],\"outputs\":[{\"name\":\"LABELS\"," + "\"parameters\":{\"binary_data\":true}}]}";
  const std::string head = "POST /v2/models/" + model + "/infer HTTP/1.1\r\nHost: " + host +
                           "\r\nConnection: close\r\nInference-Header-Content-Length: " + std::to_string(json.size()) +
                           "\r\nContent-Length: " + std::to_string(json.size() + n_bytes) + "\r\n\r\n" + json;
  send_all(descriptor, head.data(), head.size());
  send_all(descriptor, hits.data(), n_bytes);
  std::string answer;
  std::vector<char> buffer(1 << 16);
  size_t body = std::string::npos, due = std::string::npos;
  while (body == std::string::npos || answer.size() < body + due) {
    const ssize_t got = recv(descriptor, buffer.data(), buffer.size(), 0);
    if (got <= 0) throw std::runtime_error("the answer is cut short, or none came in time");
    answer.append(buffer.data(), got);
    if (body == std::string::npos && (body = answer.find("\r\n\r\n")) != std::string::npos) {
      due = std::stoul("0" + header(answer.substr(0, body + 2), "Content-Length"));
      body += 4;
    }
  }
  const std::string headers = answer.substr(0, body - 2);
  if (headers.compare(9, 3, "200") != 0) throw std::runtime_error(answer.substr(body, due));
  const std::string length = header(headers, "Inference-Header-Content-Length");
  const size_t skip = length.empty() ? due : std::stoul(length);  // without labels there is none
  if (due - skip != n_hits * sizeof(int64_t)) throw std::runtime_error("got labels of another number than hits");
  std::vector<int64_t> labels(n_hits);
  std::memcpy(labels.data(), answer.data() + body + skip, due - skip);
  return labels;
}

int main(int count, char** arguments) try {
  if (count != 5) throw std::runtime_error("usage: find_tracks HOST PORT MODEL event.csv");
  const std::vector<float> hits = read_hits(arguments[4]);
  const int descriptor = connect_to(arguments[1], arguments[2]);
  const std::vector<int64_t> labels = find_tracks(descriptor, arguments[1], arguments[3], hits);
  close(descriptor);
  const int64_t tracks = labels.empty() ? 0 : *std::max_element(labels.begin(), labels.end()) + 1;
  std::cout << labels.size() << " hits, " << tracks << " tracks\n";
  for (const int64_t label : labels) std::cout << label << '\n';
} catch (const std::exception& error) {
  std::cerr << "find_tracks: " << error.what() << '\n';
  return 1;
}
