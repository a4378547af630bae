// `mete events`: what happened to the accounts of a state folder, and what happens.
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>

#include "agent/quota_json.h"
#include "base/unique_fd.h"
#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/quota_text.h"
#include "cli/values.h"
#include "server/ledger_json.h"
#include "server/ledger_requests.h"
#include "server/state.h"
#include "wire/unix_client.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {
    {"follow", "", "go on with what happens, until it is interrupted"},
    {"after", "N", "only what came after the event of that number", CheckCount},
    {"agent", "ID", "only what concerns this agent", CheckId, false, "id"},
    kStateDirFlag,
    {"json", "", "print one JSON object, with --follow one for each event"},
};

// How long an owner of the folder that only follows takes to see that it is interrupted.
constexpr Duration kRound = std::chrono::milliseconds(100);

std::atomic<bool> interrupted{false};

// Without SA_RESTART, so that what waits returns.
void StopOnSignals() {
  struct sigaction action{};
  action.sa_handler = [](int) { interrupted = true; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

struct Wanted {
  std::string folder;
  std::string target;  // "agent/a1", or empty
  std::string after;   // or empty: from here on
  bool as_json = false;
};

std::string PathOf(const Wanted& wanted, const char* more) {
  std::string path = std::string("/v1/events?") + more;
  if (!wanted.after.empty()) path += "&after=" + wanted.after;
  if (!wanted.target.empty()) path += "&target=" + server::PercentEncoded(wanted.target);
  return path;
}

// One event of a stream; printed at once, since somebody waits for it.
void PrintEvent(std::string_view text, Wanted* wanted) {
  Result<wire::Json> event = wire::ParseJson(text);
  if (!event) return;
  if (const std::string number = TextOf(*event, "sequence"); !number.empty()) {
    wanted->after = number;
  }
  Print(wanted->as_json ? std::string(text) + "\n" : EventText(*event));
  std::fflush(stdout);
}

// E2070: there is no such account, nor are events of one kept.
Result<void> CheckTarget(Ledger& ledger, const Wanted& wanted) {
  const std::string id = wanted.target.substr(wanted.target.find('/') + 1);
  Result<Reply> account = ledger.Call({.method = "GET",
                                       .path = "/v1/quotas/agent/" + server::PercentEncoded(id),
                                       .is_repeatable = true});
  if (account || account.error().code != ErrorCode::kNotFound) return {};
  Wanted kept{.folder = {}, .target = wanted.target, .after = "0"};
  for (;;) {
    Result<Reply> reply =
        ledger.Call({.method = "GET", .path = PathOf(kept, "most=500"), .is_repeatable = true});
    if (!reply) return std::unexpected(reply.error());
    const wire::Json* events = reply->json.Find("events");
    if (events != nullptr && events->AsArray() && !events->AsArray()->empty()) return {};
    const std::string last = TextOf(reply->json, "last");
    if (last == kept.after || last.empty()) return std::unexpected(account.error());
    kept.after = last;
  }
}

// All that are kept, by as many exchanges as it takes.
int PrintKept(Wanted wanted) {
  Result<Ledger> ledger = Ledger::Open(wanted.folder);
  if (!ledger) return PrintError(ledger.error());
  if (!wanted.target.empty()) {
    if (Result<void> known = CheckTarget(*ledger, wanted); !known) return PrintError(known.error());
  }
  if (wanted.after.empty()) wanted.after = "0";
  const char* separator = "{\"events\":[";
  for (;;) {
    Result<Reply> reply =
        ledger->Call({.method = "GET", .path = PathOf(wanted, "most=500"), .is_repeatable = true});
    if (!reply) return PrintError(reply.error());
    const wire::Json* events = reply->json.Find("events");
    if (events == nullptr || events->AsArray() == nullptr) {
      return PrintError({ErrorCode::kSystem, "an answer without events"});
    }
    if (wanted.as_json) {
      const std::size_t first = reply->text.find('[') + 1;
      const std::string elements = reply->text.substr(first, reply->text.rfind(']') - first);
      if (!elements.empty()) Print(separator + elements), separator = ",";
    } else {
      for (const wire::Json& event : *events->AsArray()) Print(EventText(event));
    }
    const std::string last = TextOf(reply->json, "last");
    if (last == wanted.after || last.empty()) break;
    wanted.after = last;
  }
  if (wanted.as_json) Print(*separator == ',' ? "]}\n" : "{\"events\":[]}\n");
  return kExitOk;
}

// Until the owner ends the stream, or somebody this program.
Result<void> FollowOwner(const std::string& socket, Wanted* wanted) {
  const wire::HttpRequest request{"GET", PathOf(*wanted, "follow=true"), {}, {}};
  Result<UniqueFd> stream = wire::SendUnix(socket, request);
  if (!stream) return std::unexpected(stream.error());
  std::string unread;
  char bytes[16 * 1024];
  while (!interrupted) {
    const ssize_t got = recv(stream->get(), bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return {};
    unread.append(bytes, static_cast<std::size_t>(got));
    std::size_t from = 0;
    for (std::size_t end; (end = unread.find('\n', from)) != std::string::npos; from = end + 1) {
      const std::string_view line = std::string_view(unread).substr(from, end - from);
      if (line.starts_with("data: ")) PrintEvent(line.substr(6), wanted);
    }
    unread.erase(0, from);
  }
  return {};
}

// As the owner, who serves all others meanwhile.
void FollowOwn(server::OwnedState& state, Wanted* wanted) {
  Result<std::uint64_t> after = server::ParseNumber("after", wanted->after);
  EventReader reader = after ? state.manager().EventsAfter(*after) : state.manager().Events();
  while (!interrupted) {
    if (!reader.Wait(kRound)) continue;
    for (const Event& event : reader.Take().events) {
      wanted->after = std::to_string(event.sequence);
      const bool concerns = wanted->target.empty() ||
                            agent::PathOf(event.target) == wanted->target ||
                            agent::PathOf(event.account) == wanted->target;
      if (concerns) PrintEvent(server::EventJson(event), wanted);
    }
  }
}

int Follow(Wanted wanted) {
  StopOnSignals();
  if (Result<void> there = CheckStateDir(wanted.folder); !there) return PrintError(there.error());
  if (!wanted.target.empty()) {
    Result<Ledger> ledger = Ledger::Open(wanted.folder);
    if (!ledger) return PrintError(ledger.error());
    if (Result<void> known = CheckTarget(*ledger, wanted); !known) return PrintError(known.error());
  }
  while (!interrupted) {
    Result<server::OpenedState> state =
        server::OpenState(StateConfigOf(wanted.folder, /*serves=*/true));
    if (!state) return PrintError(state.error());
    if (state->owned) {
      FollowOwn(*state->owned, &wanted);
      continue;
    }
    Result<void> followed = FollowOwner(state->socket, &wanted);
    if (!followed && followed.error().code != ErrorCode::kNotFound) {
      return PrintError(followed.error());
    }
  }
  return kExitOk;
}

int EventsCommand(const Flags& flags) {
  Result<std::string> folder = NeedStateDir(flags);
  if (!folder) return PrintRefusal(folder.error());
  Wanted wanted{.folder = *std::move(folder),
                .target = {},
                .after = std::string(flags.Get("after").value_or("")),
                .as_json = flags.Has("json")};
  if (const auto id = flags.Get("agent")) wanted.target = "agent/" + std::string(*id);
  return flags.Has("follow") ? Follow(std::move(wanted)) : PrintKept(std::move(wanted));
}

}  // namespace

extern constinit const Command kEventsCommand = {
    .name = "events",
    .operands = {},
    .summary = "Show what happened to the accounts of a state folder",
    .details =
        "Prints what is kept, from the oldest on; with --follow what happens from now on,\n"
        "or from --after N on. Each event has a number, and comes once.\n",
    .flags = kFlags,
    .main = EventsCommand,
};

}  // namespace mete::cli
