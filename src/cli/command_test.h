// For the tests of commands: calls them like the program does, with a stand-in for `mete run`.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "wire/http.h"
#include "wire/test_server.h"

namespace mete::cli {

struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};

inline Ran RunCli(std::vector<const Command*> commands, std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "mete");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran ran;
  ran.status = Dispatch(commands, static_cast<int>(arguments.size()), arguments.data());
  ran.out = testing::internal::GetCapturedStdout();
  ran.err = testing::internal::GetCapturedStderr();
  return ran;
}

// What every error looks like.
inline void ExpectOneErrorLine(const Ran& ran, std::string_view start) {
  EXPECT_EQ(ran.out, "");
  EXPECT_TRUE(ran.err.starts_with(start)) << ran.err;
  EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
}

// Sets a variable of the environment, or takes it away, until it goes out of scope.
class ScopedEnv {
 public:
  ScopedEnv(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  ~ScopedEnv() { old_ ? setenv(name_, old_->c_str(), 1) : unsetenv(name_); }
  ScopedEnv(const ScopedEnv&) = delete;
  ScopedEnv& operator=(const ScopedEnv&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

// The control socket of an agent "a1" in a runtime folder of its own, to which the environment
// points; METE_SOCKET names it too if `inside`. Answers every request with what the test says.
class FakeAgent {
 public:
  explicit FakeAgent(wire::HttpResponse response, bool inside = false)
      : response_(std::move(response)),
        server_([this](int fd) { Serve(fd); }, "mete/a1.sock"),
        runtime_dir_("XDG_RUNTIME_DIR", server_.folder().c_str()),
        socket_("METE_SOCKET", inside ? server_.path().c_str() : nullptr) {}

  // What came so far.
  std::vector<wire::HttpRequest> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  const std::string& folder() const { return server_.folder(); }

 private:
  void Serve(int fd) {
    std::optional<wire::HttpRequest> request = wire::ReadRequest(fd);
    if (!request) return;
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(*std::move(request));
    }
    wire::SendText(fd, wire::Serialize(response_, true));
  }

  wire::HttpResponse response_;
  std::mutex mutex_;
  std::vector<wire::HttpRequest> requests_;
  wire::TestServer server_;
  ScopedEnv runtime_dir_;
  ScopedEnv socket_;
};

inline wire::HttpResponse Problem(int status, const std::string& code, const std::string& detail) {
  return {status,
          {{"content-type", "application/problem+json"}},
          R"({"status":)" + std::to_string(status) + R"(,"code":")" + code + R"(","detail":")" +
              detail + R"("})"};
}

}  // namespace mete::cli
