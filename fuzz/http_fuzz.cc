// Feeds bytes to both HTTP parsers, whole and in pieces.
//
// What must hold: the cut of the stream changes nothing; what is accepted keeps the bounds, has one
// length, and is read back the same after it is written.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "wire/http.h"

namespace {

using mete::Result;
using mete::wire::FindHeader;
using mete::wire::HttpRequest;
using mete::wire::HttpResponse;
using mete::wire::RequestParser;
using mete::wire::ResponseParser;

template <class Message>
struct Outcome {
  std::vector<Message> messages;
  std::string error;
};

template <class Message, class Parser>
Outcome<Message> ReadAll(std::string_view bytes, std::size_t size) {
  Parser parser;
  Outcome<Message> outcome;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size()))) {
    for (std::string_view piece = bytes.substr(0, size);; piece = "") {
      auto message = parser.Feed(piece);
      if (!message) {
        outcome.error = message.error().message;
        METE_CHECK(!outcome.error.empty() && !parser.Feed(""));
        return outcome;
      }
      if (!*message) break;
      outcome.messages.push_back(*std::move(*message));
    }
  }
  return outcome;
}

bool Same(const HttpRequest& a, const HttpRequest& b) {
  return a.method == b.method && a.target == b.target && a.headers == b.headers && a.body == b.body;
}
bool Same(const HttpResponse& a, const HttpResponse& b) {
  return a.status == b.status && a.headers == b.headers && a.body == b.body;
}

// The framing belongs to the writer.
template <class Message>
Message WithoutFraming(Message message) {
  std::erase_if(message.headers, [](const auto& header) {
    return header.first == "content-length" || header.first == "transfer-encoding";
  });
  return message;
}

template <class Message>
bool CanBeWritten(const Message& message) {
  if constexpr (std::is_same_v<Message, HttpRequest>) {
    return message.target.starts_with('/');  // not "*" and not a whole URL
  } else {
    return message.body.empty() || (message.status != 204 && message.status != 304);
  }
}

template <class Message, class Parser>
void CheckAccepted(const Message& message) {
  METE_CHECK(message.body.size() <= mete::wire::kMaxBodyBytes);
  METE_CHECK(FindHeader(message.headers, "content-length").empty() ||
             FindHeader(message.headers, "transfer-encoding").empty());
  if (!CanBeWritten(message)) return;
  const Message plain = WithoutFraming(message);
  Outcome<Message> again = ReadAll<Message, Parser>(Serialize(plain), SIZE_MAX);
  // Writing may add a length to what is already at the bound of the header.
  if (!again.error.empty()) return;
  METE_CHECK(again.messages.size() == 1);
  METE_CHECK(Same(WithoutFraming(again.messages[0]), plain));
}

template <class Message, class Parser>
void Check(std::string_view bytes, std::size_t size) {
  const Outcome<Message> whole = ReadAll<Message, Parser>(bytes, SIZE_MAX);
  const Outcome<Message> pieces = ReadAll<Message, Parser>(bytes, size);
  METE_CHECK(whole.messages.size() == pieces.messages.size());
  METE_CHECK(whole.error.empty() == pieces.error.empty());
  for (std::size_t i = 0; i < whole.messages.size(); ++i) {
    METE_CHECK(Same(whole.messages[i], pieces.messages[i]));
    CheckAccepted<Message, Parser>(whole.messages[i]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  if (length == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, length - 1);
  const std::size_t size = data[0] % 64 + 1;
  Check<HttpRequest, RequestParser>(bytes, size);
  Check<HttpResponse, ResponseParser>(bytes, size);
  return 0;
}
