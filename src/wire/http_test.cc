#include "wire/http.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mete::wire {
namespace {

using namespace std::string_literals;

const std::string kReport =
    "POST /v1/self/usage HTTP/1.1\r\n"
    "Host: mete\r\n"
    "Content-Type:  application/json \r\n"
    "Content-Length: 15\r\n\r\n"
    "{\"tokens\":1500}";

// Feeds in pieces of `size` bytes; the messages that came out, or the status of the refusal.
struct Outcome {
  std::vector<HttpRequest> requests;
  int error_status = 0;
  std::string error;
};

Outcome FeedAll(std::string_view bytes, std::size_t size) {
  RequestParser parser;
  Outcome outcome;
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    std::string_view piece = bytes.substr(at, size);
    for (;;) {
      Result<std::optional<HttpRequest>> request = parser.Feed(piece);
      if (!request) {
        outcome.error_status = parser.error_status();
        outcome.error = request.error().message;
        return outcome;
      }
      if (!*request) break;
      outcome.requests.push_back(std::move(**request));
      piece = "";
    }
  }
  return outcome;
}

TEST(RequestParser, ReadsARequest) {
  Outcome outcome = FeedAll(kReport, kReport.size());
  ASSERT_EQ(outcome.requests.size(), 1U) << outcome.error;
  const HttpRequest& request = outcome.requests[0];
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/v1/self/usage");
  EXPECT_EQ(FindHeader(request.headers, "content-type"), "application/json");
  EXPECT_EQ(FindHeader(request.headers, "host"), "mete");
  EXPECT_EQ(FindHeader(request.headers, "accept"), "");
  EXPECT_EQ(request.body, "{\"tokens\":1500}");
}

TEST(RequestParser, EveryCutOfTheStreamGivesTheSameMessages) {
  const std::string chunked =
      "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "4;note=1\r\nwxyz\r\nA\r\n0123456789\r\n0\r\n\r\n";
  const std::string stream = kReport + chunked + "GET / HTTP/1.1\r\n\r\n" + kReport;
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    Outcome outcome = FeedAll(stream, size);
    ASSERT_EQ(outcome.requests.size(), 4U) << "pieces of " << size << ": " << outcome.error;
    EXPECT_EQ(outcome.requests[0].body, "{\"tokens\":1500}");
    EXPECT_EQ(outcome.requests[1].body, "wxyz0123456789");
    EXPECT_EQ(outcome.requests[2].target, "/");
    EXPECT_EQ(outcome.requests[2].body, "");
    EXPECT_EQ(outcome.requests[3].body, "{\"tokens\":1500}");
  }
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    RequestParser parser;
    std::size_t messages = 0;
    for (std::string_view piece :
         {std::string_view(stream).substr(0, cut), std::string_view(stream).substr(cut)}) {
      for (;; piece = "") {
        Result<std::optional<HttpRequest>> request = parser.Feed(piece);
        ASSERT_TRUE(request) << "cut at " << cut << ": " << request.error().message;
        if (!*request) break;
        ++messages;
      }
    }
    EXPECT_EQ(messages, 4U) << "cut at " << cut;
  }
}

struct Refusal {
  const char* what;
  std::string bytes;
  int status;
};

std::string WithHeader(const std::string& lines) { return "GET / HTTP/1.1\r\n" + lines + "\r\n"; }

// What one reader takes for one message and another for two, and what no honest client sends.
std::vector<Refusal> BadFields() {
  return {
      {"length and chunks", WithHeader("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"chunks and length", WithHeader("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), 400},
      {"two lengths", WithHeader("Content-Length: 4\r\nContent-Length: 5\r\n"), 400},
      {"the same length twice", WithHeader("Content-Length: 4\r\ncontent-length: 4\r\n"), 400},
      {"a list of lengths", WithHeader("Content-Length: 4, 4\r\n"), 400},
      {"a negative length", WithHeader("Content-Length: -1\r\n"), 400},
      {"a signed length", WithHeader("Content-Length: +1\r\n"), 400},
      {"a hexadecimal length", WithHeader("Content-Length: 0x1\r\n"), 400},
      {"a length with a space inside", WithHeader("Content-Length: 1 2\r\n"), 400},
      {"an empty length", WithHeader("Content-Length:\r\n"), 400},
      {"a length beyond 64 bits", WithHeader("Content-Length: 18446744073709551616\r\n"), 400},
      {"chunks twice", WithHeader("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       400},
      {"another coding", WithHeader("Transfer-Encoding: gzip\r\n"), 400},
      {"two codings", WithHeader("Transfer-Encoding: gzip, chunked\r\n"), 400},
      {"a coding that looks like chunked", WithHeader("Transfer-Encoding: xchunked\r\n"), 400},
      {"chunked with a vertical tab", WithHeader("Transfer-Encoding: \vchunked\r\n"), 400},
      {"two hosts", WithHeader("Host: a\r\nHost: b\r\n"), 400},
      {"a space before the colon", WithHeader("Content-Length : 4\r\n"), 400},
      {"a space before the name", WithHeader(" Content-Length: 4\r\n"), 400},
      {"a space inside the name", WithHeader("Content Length: 4\r\n"), 400},
      {"no name", WithHeader(": 4\r\n"), 400},
      {"no colon", WithHeader("Content-Length 4\r\n"), 400},
      {"a continued line", WithHeader("X: a\r\n b\r\n"), 400},
      {"a line continued with a tab", WithHeader("X: a\r\n\tb\r\n"), 400},
      {"a bare line feed in the header", WithHeader("X: a\nY: b\r\n"), 400},
      {"a bare line feed after the first line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"a header that ends with bare line feeds", "GET / HTTP/1.1\r\nHost: a\n\n", 400},
      {"a bare carriage return", WithHeader("X: a\rY: b\r\n"), 400},
      {"two carriage returns", WithHeader("X: a\r\r\n"), 400},
      {"a NUL in a value", WithHeader("X: a\0b\r\n"s), 400},
      {"a NUL in a name", WithHeader("X\0: a\r\n"s), 400},
      {"a control character", WithHeader("X: a\x01\r\n"), 400},
      {"a byte above ASCII in a name", WithHeader("X\xC3\xA9: a\r\n"), 400},
  };
}

std::vector<Refusal> BadLines() {
  return {
      {"an empty line first", "\r\nGET / HTTP/1.1\r\n\r\n", 400},
      {"a method that is no word", "G(T / HTTP/1.1\r\n\r\n", 400},
      {"no target", "GET  HTTP/1.1\r\n\r\n", 400},
      {"a space in the target", "GET /a b HTTP/1.1\r\n\r\n", 400},
      {"a NUL in the target", "GET /a\0b HTTP/1.1\r\n\r\n"s, 400},
      {"two spaces", "GET  / HTTP/1.1\r\n\r\n", 400},
      {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 505},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"a first line that is cut short", "GET\r\n\r\n", 400},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"a lower case version", "GET / http/1.1\r\n\r\n", 400},
      {"no HTTP", "\x16\x03\x01\x02\x00\x01\n"s, 400},
      {"a long target", "GET /" + std::string(8192, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {"an endless first line", "GET /" + std::string(kMaxHeaderBytes, 'a'), 431},
      {"an endless header", "GET / HTTP/1.1\r\nX: " + std::string(kMaxHeaderBytes, 'a'), 431},
  };
}

std::vector<Refusal> BadBodies() {
  const std::string chunked = WithHeader("Transfer-Encoding: chunked\r\n");
  return {
      {"a chunk size that is none", chunked + "zz\r\nab\r\n0\r\n\r\n", 400},
      {"a negative chunk size", chunked + "-1\r\nab\r\n0\r\n\r\n", 400},
      {"a chunk size beyond 64 bits", chunked + "10000000000000000\r\nab\r\n", 400},
      {"a chunk that is longer than it says", chunked + "2\r\nabc\r\n0\r\n\r\n", 400},
      {"a chunk line that ends with a bare line feed", chunked + "2\nab\r\n0\r\n\r\n", 400},
      {"fields after the chunks", chunked + "0\r\nContent-Length: 3\r\n\r\n", 400},
      {"a long chunk extension", chunked + "2;a=" + std::string(1100, 'b') + "\r\nab\r\n", 400},
      {"an endless chunk line", chunked + "2;a=" + std::string(40000, 'b'), 400},
      {"a declared body beyond the bound",
       WithHeader("Content-Length: " + std::to_string(kMaxBodyBytes + 1) + "\r\n"), 413},
      {"a chunk beyond the bound", chunked + "100001\r\n", 413},
  };
}

void ExpectRefused(const std::vector<Refusal>& rows) {
  for (const Refusal& row : rows) {
    for (std::size_t size : {row.bytes.size(), std::size_t{1}, std::size_t{7}}) {
      Outcome outcome = FeedAll(row.bytes, size);
      EXPECT_TRUE(outcome.requests.empty()) << row.what << ", pieces of " << size;
      EXPECT_EQ(outcome.error_status, row.status) << row.what << ": " << outcome.error;
      EXPECT_EQ(outcome.error.find('\n'), std::string::npos) << row.what;
    }
  }
}

TEST(RequestParser, RefusesAmbiguousFields) { ExpectRefused(BadFields()); }
TEST(RequestParser, RefusesBadAndEndlessLines) { ExpectRefused(BadLines()); }
TEST(RequestParser, RefusesBadBodies) { ExpectRefused(BadBodies()); }

TEST(RequestParser, RefusesBeforeTheRestArrives) {
  RequestParser parser;
  EXPECT_FALSE(parser.Feed("GET / HTTP/1.1\n"));
  EXPECT_EQ(parser.error_status(), 400);
}

TEST(RequestParser, AnErrorIsFinal) {
  RequestParser parser;
  EXPECT_EQ(parser.error_status(), 0);
  ASSERT_FALSE(parser.Feed("GET / HTTP/1.0\r\n\r\n"));
  Result<std::optional<HttpRequest>> again = parser.Feed("GET / HTTP/1.1\r\n\r\n");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(parser.error_status(), 505);
}

TEST(RequestParser, AMessageBeforeTheBadOneStillCounts) {
  Outcome outcome = FeedAll(kReport + "GET / HTTP/1.1\r\nX : y\r\n\r\n", 1);
  EXPECT_EQ(outcome.requests.size(), 1U);
  EXPECT_EQ(outcome.error_status, 400);
}

std::string WithBody(std::size_t length) {
  return WithHeader("Content-Length: " + std::to_string(length) + "\r\n") +
         std::string(length, 'b');
}

std::string Chunked(std::size_t chunk, std::size_t count) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", chunk);
  std::string bytes = WithHeader("Transfer-Encoding: chunked\r\n");
  for (std::size_t i = 0; i < count; ++i) bytes += size + std::string(chunk, 'b') + "\r\n";
  return bytes + "0\r\n\r\n";
}

TEST(RequestParser, BoundsTheBody) {
  for (std::size_t length : {std::size_t{0}, std::size_t{1}, kMaxBodyBytes - 1, kMaxBodyBytes}) {
    Outcome outcome = FeedAll(WithBody(length), 65536);
    ASSERT_EQ(outcome.requests.size(), 1U) << length << ": " << outcome.error;
    EXPECT_EQ(outcome.requests[0].body.size(), length);
  }
  constexpr std::size_t kPiece = 65536;
  Outcome full = FeedAll(Chunked(kPiece, kMaxBodyBytes / kPiece), 4096);
  ASSERT_EQ(full.requests.size(), 1U) << full.error;
  EXPECT_EQ(full.requests[0].body.size(), kMaxBodyBytes);
  EXPECT_EQ(FeedAll(Chunked(kPiece, kMaxBodyBytes / kPiece + 1), 4096).error_status, 413);
}

TEST(RequestParser, BoundsTheHeader) {
  const std::string start = "GET / HTTP/1.1\r\nX: ";
  const std::size_t room = kMaxHeaderBytes - start.size() - 4;
  EXPECT_EQ(FeedAll(start + std::string(room, 'a') + "\r\n\r\n", 1000).requests.size(), 1U);
  EXPECT_EQ(FeedAll(start + std::string(room + 1, 'a') + "\r\n\r\n", 1000).error_status, 431);
  EXPECT_EQ(FeedAll(start + std::string(room + 1, 'a') + "\r\n\r\n", 100000).error_status, 431);

  std::string fields;
  for (int i = 0; i < 100; ++i) fields += "x: y\r\n";
  EXPECT_EQ(FeedAll(WithHeader(fields), 1000).requests.size(), 1U);
  EXPECT_EQ(FeedAll(WithHeader(fields + "x: y\r\n"), 1000).error_status, 431);
}

TEST(ResponseParser, ReadsAResponse) {
  ResponseParser parser;
  const std::string bytes =
      "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}";
  for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
    Result<std::optional<HttpResponse>> early = parser.Feed({&bytes[i], 1});
    ASSERT_TRUE(early && !*early) << i;
  }
  Result<std::optional<HttpResponse>> response = parser.Feed({&bytes.back(), 1});
  ASSERT_TRUE(response && *response);
  EXPECT_EQ((*response)->status, 429);
  EXPECT_EQ(FindHeader((*response)->headers, "retry-after"), "3");
  EXPECT_EQ((*response)->body, "{}");
}

TEST(ResponseParser, RefusesWhatCannotBeTrustedToBeWhole) {
  const std::vector<std::pair<const char*, std::string>> rows = {
      {"no length", "HTTP/1.1 200 OK\r\n\r\n{}"},
      {"an interim status", "HTTP/1.1 100 Continue\r\n\r\n"},
      {"a status beyond the grammar", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"},
      {"a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"},
      {"less than a version", "HTTP\r\n\r\n"},
      {"no HTTP", "nonsense\r\n\r\n"},
      {"a body beyond the bound", "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n"},
  };
  for (const auto& [what, bytes] : rows) {
    ResponseParser parser;
    EXPECT_FALSE(parser.Feed(bytes)) << what;
  }
}

TEST(ResponseParser, ReadsAnAnswerWithoutBody) {
  ResponseParser parser;
  Result<std::optional<HttpResponse>> response = parser.Feed("HTTP/1.1 204 No Content\r\n\r\n");
  ASSERT_TRUE(response && *response);
  EXPECT_EQ((*response)->status, 204);
}

}  // namespace
}  // namespace mete::wire
