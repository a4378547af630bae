#include "cli/remote.h"

#include <cstdlib>
#include <utility>

#include "agent/record_file.h"
#include "agent/runtime_dir.h"
#include "base/quote.h"
#include "cli/flags.h"
#include "cli/values.h"
#include "server/answers.h"
#include "wire/unix_client.h"

namespace mete::cli {
namespace {

// nullptr where it is not set or empty.
const char* OwnSocket() {
  const char* socket = std::getenv("METE_SOCKET");
  return socket != nullptr && *socket != '\0' ? socket : nullptr;
}

using Ids = std::vector<std::string>;

std::string RunningText() {
  std::string text;
  for (const std::string& id : RunningIds().value_or(Ids()))
    text.append(text.empty() ? "" : ", ").append(id);
  return text.empty() ? "none is running" : "running: " + text;
}

// The one that was probably meant, or all that there are.
std::string NearText(std::string_view id) {
  const Ids ids = RunningIds().value_or(Ids());
  const std::vector<std::string_view> names(ids.begin(), ids.end());
  const std::string_view nearest = NearestName(id, names);
  if (nearest.empty() || nearest == id) return RunningText();
  return "did you mean " + std::string(nearest) + "?";
}

}  // namespace

Result<std::vector<std::string>> RunningIds() {
  const std::string dir = agent::RuntimeDir();
  if (Result<void> own = agent::CheckRuntimeDir(dir); !own) return std::unexpected(own.error());
  return agent::ListControlSockets(dir);
}

Result<Target> SelfTarget() {
  const char* socket = OwnSocket();
  if (socket == nullptr) {
    return Fail(ErrorCode::kNotFound,
                "not inside an agent: METE_SOCKET is not set, `mete run` sets it");
  }
  return Target{socket, "/v1/self", ""};
}

Result<Target> AgentTarget(std::string_view id) {
  if (Result<void> ok = CheckId({}, id); !ok) {
    return Fail(ErrorCode::kInvalidArgument, "the id " + ok.error().message);
  }
  const std::string dir = agent::RuntimeDir();
  if (Result<void> own = agent::CheckRuntimeDir(dir); !own) return std::unexpected(own.error());
  return Target{agent::ControlSocketPath(dir, id), "/v1/quotas/agent/" + std::string(id),
                std::string(id)};
}

bool IsLeftBehind(std::string_view id) {
  // Its owner has the lock, and after that whoever settles what is left.
  const Result<agent::RecordFile> record =
      agent::RecordFile::Take(agent::RecordPath(agent::RuntimeDir(), id));
  return record && record->last();
}

Result<Target> QuotaTarget(const std::vector<std::string_view>& operands) {
  if (!operands.empty()) return AgentTarget(operands[0]);
  if (OwnSocket() != nullptr) return SelfTarget();
  return Fail(ErrorCode::kInvalidArgument, "which agent? " + RunningText());
}

Result<Reply> Call(const Target& target, std::string_view method, std::string_view subpath,
                   std::string body, wire::Headers headers) {
  wire::HttpRequest request{std::string(method), target.path, std::move(headers), std::move(body)};
  request.target.append(subpath);
  if (!request.body.empty()) request.headers.emplace_back("content-type", "application/json");
  Result<wire::HttpResponse> response = wire::CallUnix(target.socket, request);
  if (!response) {
    if (response.error().code != ErrorCode::kNotFound) return std::unexpected(response.error());
    if (target.name.empty()) {
      return Fail(
          ErrorCode::kNotFound,
          "the `mete run` around this program is gone: METE_SOCKET is " + Quoted(target.socket));
    }
    if (IsLeftBehind(target.name)) {
      return Fail(ErrorCode::kNotFound,
                  "its `mete run` was killed, and processes of it may still run: `mete gc` ends "
                  "them, given: " +
                      Quoted(target.name));
    }
    return Fail(ErrorCode::kNotFound,
                "no such agent is running: " + Quoted(target.name) + ", " + NearText(target.name));
  }
  return ReadReply(*std::move(response));
}

Result<Reply> ReadReply(wire::HttpResponse response) {
  if (response.status >= 400) return std::unexpected(server::ReadProblem(response));
  Reply reply{std::move(response.body), {}};
  if (!reply.text.empty()) {
    Result<wire::Json> json = wire::ParseJson(reply.text);
    if (!json)
      return Fail(ErrorCode::kSystem, "an answer that is no JSON: " + json.error().message);
    reply.json = *std::move(json);
  }
  return reply;
}

std::string TextOf(const wire::Json& json, std::string_view name) {
  const wire::Json* member = json.Find(name);
  if (member == nullptr) return {};
  if (const std::string* text = member->AsString()) return *text;
  if (const wire::JsonNumber* number = member->AsNumber()) return number->text;
  return {};
}

}  // namespace mete::cli
