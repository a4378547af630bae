// One HTTP exchange with a mete socket; blocking, for commands and tests.
#pragma once

#include <chrono>
#include <string>

#include "mete/error.h"
#include "wire/http.h"

namespace mete::wire {

// Connects, sends, reads one response, closes. kSystem names the socket and the cause: nobody
// listens there, permission, time out.
Result<HttpResponse> CallUnix(const std::string& socket_path, const HttpRequest& request,
                              std::chrono::milliseconds timeout = std::chrono::seconds(10));

}  // namespace mete::wire
