#include "server/state.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "wire/test_server.h"
#include "wire/unix_client.h"

namespace mete::server {
namespace {

class StateTest : public testing::Test {
 protected:
  StateConfig Config(bool serves = true) {
    StateConfig config;
    config.folder = folder;
    config.manager.default_limits = {};
    config.manager.durability = Durability::kSync;
    config.open_store = [](const std::string& path) { return OpenStore(path); };
    config.serves = serves;
    return config;
  }
  static wire::HttpRequest Report(int tokens) {
    return {"POST", "/v1/quotas/agent/a/usage", {}, "{\"tokens\":" + std::to_string(tokens) + "}"};
  }

  wire::TestFolder parent;
  std::string folder = parent.path() + "/state";
};

TEST_F(StateTest, TheSecondSpeaksToTheFirst) {
  Result<OpenedState> first = OpenState(Config());
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(first->owned);
  ASSERT_TRUE(first->owned->manager().CreateQuota("a"));
  Result<OpenedState> second = OpenState(Config());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->owned);
  EXPECT_NE(second->owner.find(std::to_string(getpid())), std::string::npos) << second->owner;
  EXPECT_EQ(wire::CallUnix(second->socket, Report(5))->status, 200);
  EXPECT_EQ(first->owned->Answer(Report(7)).status, 200);
  EXPECT_EQ(first->owned->manager().GetUsage("a")->tokens_consumed, 12);
  first->owned.reset();
  Result<OpenedState> third = OpenState(Config());
  ASSERT_TRUE(third);
  ASSERT_TRUE(third->owned) << "free again";
  EXPECT_EQ(third->owned->manager().GetUsage("a")->tokens_consumed, 12);
}

TEST_F(StateTest, AnOwnerThatDoesNotServeIsWaitedFor) {
  Result<OpenedState> first = OpenState(Config(/*serves=*/false));
  ASSERT_TRUE(first && first->owned);
  EXPECT_FALSE(std::filesystem::exists(ControlSocketOf(folder)));
  StateConfig impatient = Config();
  impatient.patience = std::chrono::milliseconds(30);
  Result<OpenedState> refused = OpenState(impatient);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInUse);
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    first->owned.reset();
  });
  Result<OpenedState> second = OpenState(Config());
  ends.join();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->owned);
}

TEST_F(StateTest, WhatTheStoreRefusesIsNotTriedAgain) {
  StateConfig config = Config();
  config.folder = "/proc/mete-nowhere";
  Result<OpenedState> refused = OpenState(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kStoreUnavailable);
}

TEST_F(StateTest, AForkedChildKeepsNeitherLockNorSocket) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  // The owner forks a child that lives on, and is killed.
  const pid_t owner = fork();
  if (owner == 0) {
    Result<OpenedState> state = OpenState(Config());
    if (!state || !state->owned || !state->owned->manager().CreateQuota("a")) _exit(1);
    const pid_t child = fork();
    if (child == 0) {
      close(ready[0]);
      for (;;) pause();
    }
    if (write(ready[1], &child, sizeof child) != sizeof child) _exit(1);
    for (;;) pause();
  }
  pid_t child = 0;
  ASSERT_EQ(read(ready[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  kill(owner, SIGKILL);
  waitpid(owner, nullptr, 0);
  Result<OpenedState> next = OpenState(Config());
  kill(child, SIGKILL);
  close(ready[0]);
  close(ready[1]);
  ASSERT_TRUE(next) << next.error().message;
  ASSERT_TRUE(next->owned);
  EXPECT_TRUE(next->owned->manager().GetQuota("a")) << "what was answered is there";
}

}  // namespace
}  // namespace mete::server
