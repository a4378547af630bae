// HTTP/1.1 messages as bytes: parsing and writing, no sockets. The parser is Boost.Beast's, seen
// only by http.cc.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mete/error.h"

namespace mete::wire {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case

// The value of the first header of that name (given in lower case), or empty.
std::string_view FindHeader(const Headers& headers, std::string_view name) noexcept;

struct HttpRequest {
  std::string method;
  std::string target;
  Headers headers;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  Headers headers;
  std::string body;
};

// Writes Content-Length, and Connection: close where `close` is set.
std::string Serialize(const HttpRequest& request, bool close = false);
std::string Serialize(const HttpResponse& response, bool close = false);

inline constexpr std::size_t kMaxHeaderBytes = std::size_t{16} << 10;
inline constexpr std::size_t kMaxBodyBytes = std::size_t{1} << 20;

// Feed takes any cut of the byte stream and keeps what is left over for the next message
// (pipelining works: call Feed("") again until it answers nullopt). An error (E2071) is final:
// close the connection after answering 400, 413 or 431.
class RequestParser {
 public:
  RequestParser();
  ~RequestParser();
  Result<std::optional<HttpRequest>> Feed(std::string_view bytes);
  int error_status() const noexcept;  // after an error: the status to answer

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class ResponseParser {
 public:
  ResponseParser();
  ~ResponseParser();
  Result<std::optional<HttpResponse>> Feed(std::string_view bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mete::wire
