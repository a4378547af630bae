#include "server/ledger_server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/unique_fd.h"
#include "mete/store.h"
#include "wire/json.h"
#include "wire/test_server.h"
#include "wire/unix_client.h"

namespace mete::server {
namespace {

using wire::HttpResponse;

class LedgerServerTest : public testing::Test {
 protected:
  void Start(LedgerOptions options = {}, bool with_store = false) {
    ManagerConfig config;
    config.default_limits = {};
    config.durability = Durability::kSync;
    manager = with_store
                  ? *ResourceManager::Create(config, SystemClock::Instance(), NewMemoryStore())
                  : *ResourceManager::Create(config);
    ASSERT_TRUE(manager->CreateQuota("a"));
    options.path = path;
    auto started = LedgerThread::Start(*manager, std::move(options));
    ASSERT_TRUE(started) << started.error().message;
    server = *std::move(started);
  }
  HttpResponse Ask(std::string method, std::string target, std::string body = {},
                   wire::Headers headers = {}) {
    Result<HttpResponse> response = wire::CallUnix(
        path, {std::move(method), std::move(target), std::move(headers), std::move(body)},
        std::chrono::seconds(60));
    EXPECT_TRUE(response) << response.error().message;
    return response ? *std::move(response) : HttpResponse{};
  }
  std::int64_t Tokens() { return manager->GetUsage("a")->tokens_consumed; }

  // What comes over the stream until it holds `text`, or ends.
  static std::string ReadUntil(const UniqueFd& stream, std::string_view text) {
    std::string seen;
    char bytes[4096];
    while (seen.find(text) == std::string::npos) {
      const ssize_t got = recv(stream.get(), bytes, sizeof bytes, 0);
      if (got <= 0) break;
      seen.append(bytes, static_cast<std::size_t>(got));
    }
    return seen;
  }
  UniqueFd Follow(const std::string& query = "follow=true") {
    Result<UniqueFd> stream =
        wire::SendUnix(path, {"GET", "/v1/events?" + query, {}, {}}, std::chrono::seconds(60));
    EXPECT_TRUE(stream);
    UniqueFd fd = *std::move(stream);
    return fd;
  }

  wire::TestFolder folder;
  std::string path = folder.path() + "/control.sock";
  std::unique_ptr<ResourceManager> manager;
  std::unique_ptr<LedgerThread> server;
};

TEST_F(LedgerServerTest, IsForItsUserAlone) {
  Start();
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
  if (geteuid() == 0) {  // as root: somebody else, who is let as far as the socket
    ASSERT_EQ(chmod(path.c_str(), 0666), 0);
    ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(65534) != 0) _exit(2);
      const auto response = wire::CallUnix(path, {"GET", "/v1/status", {}, {}});
      _exit(response && response->status == 403 && response->body.find("E2078") != std::string::npos
                ? 0
                : 1);
    }
    int ended = 0;
    waitpid(child, &ended, 0);
    EXPECT_EQ(WEXITSTATUS(ended), 0);
  }
  server.reset();
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "the socket goes with it";
}

TEST_F(LedgerServerTest, APathLongerThanAnAddressWillDo) {
  path = folder.path();
  for (int i = 0; i < 6; ++i) {
    path += "/" + std::string(50, 'd');
    ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  }
  path += "/control.sock";
  Start();
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

TEST_F(LedgerServerTest, ManyAtOnceCountExactly) {
  for (const bool with_store : {false, true}) {
    Start({}, with_store);
    constexpr int kClients = 20;
    constexpr int kReports = 100;
    std::atomic<int> good = 0;
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (int i = 0; i < kReports; ++i) {
          const std::string key = std::to_string(client) + "-" + std::to_string(i / 2);
          // Every other one is the one before it again.
          if (Ask("POST", "/v1/quotas/agent/a/usage", R"({"tokens":3})", {{"idempotency-key", key}})
                  .status == 200) {
            ++good;
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(good, kClients * kReports);
    EXPECT_EQ(Tokens(), kClients * kReports / 2 * 3);
    server.reset();
    manager.reset();
  }
}

TEST_F(LedgerServerTest, OneConnectionIsServedInOrderAlsoWhenItWaits) {
  Start({}, /*with_store=*/true);
  const UniqueFd socket = *wire::SendUnix(
      path, {"POST", "/v1/quotas/agent/a/usage", {{"connection", "keep-alive"}}, R"({"tokens":1})"},
      std::chrono::seconds(60));
  EXPECT_NE(ReadUntil(socket, "\"limits\":[]}").find("\"tokens\":1"), std::string::npos);
}

TEST_F(LedgerServerTest, EventsAreFollowedAsTheyCome) {
  Start();
  const UniqueFd all = Follow("follow=true&after=0");
  const UniqueFd next = Follow();
  const UniqueFd other = Follow("follow=true&target=agent%2Fb");
  EXPECT_NE(ReadUntil(all, "\n\n").find("text/event-stream"), std::string::npos);
  ReadUntil(next, "\r\n\r\n");  // from here on it follows
  ReadUntil(other, "\r\n\r\n");
  ASSERT_TRUE(manager->Suspend("a"));
  const std::string seen = ReadUntil(all, "suspended\",");
  EXPECT_NE(seen.find("event: suspended\ndata: {\"sequence\":2,\"kind\":\"suspended\""),
            std::string::npos)
      << seen;
  const std::string from_here = ReadUntil(next, "\"limit\":null}\n\n");
  EXPECT_EQ(from_here.find("created"), std::string::npos);
  EXPECT_NE(from_here.find("id: 2\n"), std::string::npos);
  ASSERT_TRUE(manager->CreateQuota("b"));
  const std::string of_b = ReadUntil(other, "\"limit\":null}\n\n");
  EXPECT_EQ(of_b.find("agent/a"), std::string::npos);
  EXPECT_NE(of_b.find("created"), std::string::npos);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(manager->ResetQuota("a"));
  EXPECT_NE(ReadUntil(next, "id: 1003\n").find("id: 1003\n"), std::string::npos);
  server.reset();
  EXPECT_NE(ReadUntil(next, "never there").size(), 1u)
      << "the end of the server is that of the stream";
}

TEST_F(LedgerServerTest, FollowersAreBounded) {
  LedgerOptions two_at_most;
  two_at_most.most_followers = 2;
  Start(std::move(two_at_most));
  {
    const UniqueFd one = Follow();
    const UniqueFd two = Follow();
    ReadUntil(one, "\r\n\r\n");
    ReadUntil(two, "\r\n\r\n");
    const HttpResponse refused = Ask("GET", "/v1/events?follow=true");
    EXPECT_EQ(refused.status, 429);
    EXPECT_EQ(wire::FindHeader(refused.headers, "retry-after"), "1");
    EXPECT_EQ(Ask("GET", "/v1/events").status, 200) << "others are served";
  }
  // Those who left are found at the next event.
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(manager->ResetQuota("a"));
    const UniqueFd stream = Follow();
    if (ReadUntil(stream, "\r\n\r\n").find("200 OK") != std::string::npos) return;
    usleep(20'000);
  }
  FAIL() << "no place became free";
}

TEST_F(LedgerServerTest, AnAttachmentEndsWithItsProcess) {
  Start();
  const pid_t child = fork();
  if (child == 0) {
    const auto response = wire::CallUnix(
        path, {"POST", "/v1/quotas/agent/a/attach", {}, R"({"measured":["memory_mb"]})"});
    const auto report = wire::CallUnix(
        path, {"POST", "/v1/quotas/agent/a/usage", {}, R"({"memory_mb":64,"source":"sampled"})"});
    _exit(response && response->status == 200 && report && report->status == 200 ? 0 : 1);
  }
  int ended = 0;
  waitpid(child, &ended, 0);
  ASSERT_EQ(WEXITSTATUS(ended), 0);
  for (int i = 0; i < 5000 && !manager->CleanupQuota("a"); ++i) usleep(2000);
  EXPECT_FALSE(manager->GetQuota("a")) << "once detached it can be removed";
}

TEST_F(LedgerServerTest, WindowsEndInTimeWhileNobodyAsks) {
  Start();
  ASSERT_EQ(Ask("POST", "/v1/quotas",
                R"({"scope":"agent","target_id":"w","window_seconds":1,)"
                R"("limits":{"tokens_per_hour":"5"}})")
                .status,
            201);
  EXPECT_EQ(Ask("POST", "/v1/quotas/agent/w/usage", R"({"tokens":1})").status, 200);
  const UniqueFd stream = Follow("follow=true&after=0&target=agent%2Fw");
  EXPECT_NE(ReadUntil(stream, "window_rolled").find("window_rolled"), std::string::npos);
}

TEST_F(LedgerServerTest, TooMuchIsRefused) {
  Start();
  EXPECT_EQ(Ask("POST", "/v1/quotas", std::string(100'000, ' ')).status, 413);
  EXPECT_EQ(
      Ask("POST", "/v1/quotas/agent/a/usage", "{\"tokens\":" + std::string(500, '1') + "}").status,
      400);
  EXPECT_EQ(Ask("GET", "/v1/status").status, 200);
}

}  // namespace
}  // namespace mete::server
