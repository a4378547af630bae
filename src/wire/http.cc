// Reading HTTP/1.1. Boost.Beast's parser does the grammar; around it stands what Beast lets pass
// and a server must not: the shapes by which one message is smuggled inside another. Two readers of
// the same bytes (a proxy in front, mete behind) must never disagree where a message ends, so what
// is ambiguous is refused, not repaired.
#include "wire/http.h"

// Beast asserts that five bytes are there when it comes back to a cut "0\r\n\r\n"; four may be, its
// code handles them, and bytes from outside must not end a debug build.
#define BOOST_DISABLE_ASSERTS

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/version.hpp>
#include <cstdint>

namespace mete::wire {
namespace {

namespace http = boost::beast::http;
using ErrorCodeOut = boost::beast::error_code;

constexpr std::size_t kMaxTargetBytes = std::size_t{8} << 10;
constexpr std::size_t kMaxHeaders = 100;
// A chunk's size line, extension included; what is unread of a body cannot be longer than this.
constexpr std::size_t kMaxChunkLine = 1024;

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

void Store(HttpRequest* message, http::verb, std::string_view method, std::string_view target) {
  message->method = method;
  message->target = target;
}

// One message's worth of Beast, stored into our own struct.
template <bool kIsRequest>
class Message final : public http::basic_parser<kIsRequest> {
 public:
  using Content = std::conditional_t<kIsRequest, HttpRequest, HttpResponse>;

  Message() {
    this->eager(true);
    // Beast does not count the first line; HeaderScan holds the exact bound.
    this->header_limit(static_cast<std::uint32_t>(2 * kMaxHeaderBytes));
    this->body_limit(kMaxBodyBytes);
  }

  Content content;
  int refused_status = 0;  // set with the reason below: the status that fits it
  const char* refused = nullptr;

 private:
  using view = boost::beast::string_view;
  static std::string_view Std(view text) { return {text.data(), text.size()}; }

  void Refuse(ErrorCodeOut& ec, int status, const char* why) {
    refused_status = status;
    refused = why;
    ec = http::error::bad_value;
  }

  void on_request_impl(http::verb verb, view method, view target, int version,
                       ErrorCodeOut& ec) override {
    // A 1.0 client would take the default of 1.1, an open connection, for a hanging answer.
    if (version != 11) return Refuse(ec, 505, "only HTTP/1.1 is spoken here");
    if (target.size() > kMaxTargetBytes) return Refuse(ec, 414, "the target is too long");
    if constexpr (kIsRequest) Store(&content, verb, Std(method), Std(target));
  }

  void on_response_impl(int code, view, int, ErrorCodeOut& ec) override {
    if (code < 200 || code > 599) return Refuse(ec, 400, "the status is not a final one");
    if constexpr (!kIsRequest) content.status = code;
  }

  void on_field_impl(http::field field, view name, view value, ErrorCodeOut& ec) override {
    if (this->is_header_done()) return Refuse(ec, 400, "fields after a chunked body");
    if (content.headers.size() == kMaxHeaders) return Refuse(ec, 431, "too many header fields");
    std::string lower = LowerCase(Std(name));
    const bool once = field == http::field::content_length || field == http::field::host ||
                      field == http::field::transfer_encoding;
    if (once && std::ranges::find(content.headers, lower, &Headers::value_type::first) !=
                    content.headers.end()) {
      return Refuse(ec, 400, "a header field that may stand once stands twice");
    }
    // Beast takes lists: "5, 5", and "gzip, chunked"; others may read them otherwise.
    if (field == http::field::content_length &&
        !std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; })) {
      return Refuse(ec, 400, "content-length is no number");
    }
    if (field == http::field::transfer_encoding && LowerCase(Std(value)) != "chunked") {
      return Refuse(ec, 400, "transfer-encoding is not exactly 'chunked'");
    }
    content.headers.emplace_back(std::move(lower), Std(value));
  }

#if BOOST_BEAST_VERSION >= 359
  // From Boost 1.90 on, fields after a chunked body come by a way of their own.
  void on_trailer_field_impl(http::field field, view name, view value, ErrorCodeOut& ec) override {
    on_field_impl(field, name, value, ec);
  }
#endif

  void on_header_impl(ErrorCodeOut& ec) override {
    // Without a length the end of the connection would be the end of the body, and a cut one would
    // look whole. mete's servers always say the length.
    if (!kIsRequest && this->need_eof()) Refuse(ec, 400, "an answer without a length");
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCodeOut&) override {
    if (length) content.body.reserve(static_cast<std::size_t>(*length));
  }
  std::size_t on_body_impl(view bytes, ErrorCodeOut&) override {
    content.body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, view extension, ErrorCodeOut& ec) override {
    if (extension.size() > kMaxChunkLine) Refuse(ec, 400, "a chunk extension is too long");
  }
  std::size_t on_chunk_body_impl(std::uint64_t, view bytes, ErrorCodeOut&) override {
    content.body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_finish_impl(ErrorCodeOut&) override {}
};

// Looks at the raw bytes of a header before Beast does, which unfolds continued lines and tells
// nobody. Sees each byte once, however the stream is cut.
class HeaderScan {
 public:
  // The reason to refuse these bytes, or nullptr. Stops at the end of the header.
  const char* Look(std::string_view bytes) {
    for (; seen_ < bytes.size() && !done_; ++seen_) {
      const char c = bytes[seen_];
      if (c == '\0') return "a NUL in the header";
      if ((last_ == '\r') != (c == '\n')) return "a line end that is not CR LF";
      if (last_ == '\n' && (c == ' ' || c == '\t')) return "a header line continued on the next";
      if (c == '\n') {
        done_ = line_length_ == 0;
        line_length_ = 0;
      } else if (c != '\r') {
        ++line_length_;
      }
      if (done_ && seen_ == 1) return "an empty line before the message";
      last_ = c;
    }
    return nullptr;
  }
  bool done() const { return done_; }
  std::size_t seen() const { return seen_; }

 private:
  std::size_t seen_ = 0;
  std::size_t line_length_ = 0;
  char last_ = '\0';
  bool done_ = false;
};

// The byte stream of one connection, in one direction.
template <bool kIsRequest>
class Stream {
 public:
  using Content = Message<kIsRequest>::Content;

  Result<std::optional<Content>> Feed(std::string_view bytes) {
    if (error_status_ != 0) return Refused(error_status_, "this connection already failed");
    buffer_.append(bytes);
    if (!scan_.done()) {
      if (const char* why = scan_.Look(buffer_)) return Refused(400, why);
      if (scan_.seen() > kMaxHeaderBytes) return Refused(431, "the header is too long");
      if (!scan_.done()) return std::nullopt;
    }
    return Advance();
  }
  int error_status() const { return error_status_; }

 private:
  std::unexpected<Error> Refused(int status, std::string_view why) {
    error_status_ = status;
    buffer_ = {};
    std::string message = kIsRequest ? "bad HTTP request: " : "bad HTTP answer: ";
    return Fail(ErrorCode::kInvalidArgument, message.append(why));
  }

  // REQUIRES: the whole header is in the buffer, or already behind it.
  Result<std::optional<Content>> Advance() {
    if (!message_) message_ = std::make_unique<Message<kIsRequest>>();
    ErrorCodeOut ec;
    std::size_t used = 0;
    // put() may stop early with bytes left that it can use; need_more is its word for "no". It is
    // shown the header alone first, so that what follows cannot change how that is read.
    while (!message_->is_done() && !ec && used < buffer_.size()) {
      const std::size_t end = message_->is_header_done() ? buffer_.size() : scan_.seen();
      used += message_->put({buffer_.data() + used, end - used}, ec);
    }
    if (!message_->is_header_done() && (!ec || ec == http::error::need_more)) {
      return Refused(400, "the first line is cut short");
    }
    if (ec && ec != http::error::need_more) return Refused(StatusOf(ec), ReasonOf(ec));
    buffer_.erase(0, used);
    if (!message_->is_done()) {
      if (buffer_.size() > 2 * kMaxChunkLine) return Refused(400, "an endless chunk size line");
      return std::nullopt;
    }
    Content content = std::move(message_->content);
    message_.reset();
    scan_ = {};
    return content;
  }

  int StatusOf(const ErrorCodeOut& ec) const {
    if (message_->refused_status != 0) return message_->refused_status;
    if (ec == http::error::body_limit) return 413;
    return 400;
  }
  std::string ReasonOf(const ErrorCodeOut& ec) const {
    if (message_->refused != nullptr) return message_->refused;
    if (ec == http::error::body_limit) return "the body is longer than 1 MiB";
    return ec.message();
  }

  std::string buffer_;  // what came and is not yet consumed
  HeaderScan scan_;     // of the message at the front of the buffer
  std::unique_ptr<Message<kIsRequest>> message_;
  int error_status_ = 0;
};

}  // namespace

struct RequestParser::State : Stream<true> {};
struct ResponseParser::State : Stream<false> {};

RequestParser::RequestParser() : state_(std::make_unique<State>()) {}
RequestParser::~RequestParser() = default;
Result<std::optional<HttpRequest>> RequestParser::Feed(std::string_view bytes) {
  return state_->Feed(bytes);
}
int RequestParser::error_status() const noexcept { return state_->error_status(); }

ResponseParser::ResponseParser() : state_(std::make_unique<State>()) {}
ResponseParser::~ResponseParser() = default;
Result<std::optional<HttpResponse>> ResponseParser::Feed(std::string_view bytes) {
  return state_->Feed(bytes);
}

}  // namespace mete::wire
