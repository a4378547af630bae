// One HTTP exchange with a mete socket; blocking, for commands and tests.
#pragma once

#include <chrono>
#include <string>

#include "base/unique_fd.h"
#include "mete/error.h"
#include "wire/http.h"

namespace mete::wire {

// Connects, sends, reads one response, closes; adds Host where the request has none. kNotFound:
// nobody listens there (no socket, or one whose owner is gone). kSystem: anything else that went
// wrong, such as permission, or silence for longer than `timeout` (> 0). Both name the socket. The
// path may be longer than the 107 bytes of a socket address.
Result<HttpResponse> CallUnix(const std::string& socket_path, const HttpRequest& request,
                              std::chrono::milliseconds timeout = std::chrono::seconds(10));

// The same up to the answer, which is left to read from the socket.
Result<UniqueFd> SendUnix(const std::string& socket_path, const HttpRequest& request,
                          std::chrono::milliseconds timeout = std::chrono::seconds(10));

}  // namespace mete::wire
