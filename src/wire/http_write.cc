#include <algorithm>

#include "base/check.h"
#include "wire/http.h"

namespace mete::wire {
namespace {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";  // the phrase has no meaning; the grammar wants a place for it
  }
}

// Nothing that is written may hold a line end: it would begin a field or a message of its own.
bool IsClean(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

bool IsWord(std::string_view text) {
  return !text.empty() && IsClean(text) && text.find_first_of(" \t:") == text.npos;
}

void AddField(std::string* out, std::string_view name, std::string_view value) {
  METE_CHECK(IsWord(name) && IsClean(value));
  out->append(name).append(": ").append(value).append("\r\n");
}

void AddRest(std::string* out, const Headers& headers, const std::string& body, bool close,
             bool with_length) {
  for (const auto& [name, value] : headers) AddField(out, name, value);
  if (with_length) AddField(out, "content-length", std::to_string(body.size()));
  if (close) AddField(out, "connection", "close");
  out->append("\r\n").append(body);
}

}  // namespace

std::string_view FindHeader(const Headers& headers, std::string_view name) noexcept {
  auto found = std::ranges::find(headers, name, &Headers::value_type::first);
  return found == headers.end() ? std::string_view() : found->second;
}

std::string Serialize(const HttpRequest& request, bool close) {
  METE_CHECK(IsWord(request.method));
  METE_CHECK(IsClean(request.target) && request.target.starts_with('/') &&
             request.target.find_first_of(" \t") == request.target.npos);
  std::string out = request.method + " " + request.target + " HTTP/1.1\r\n";
  AddRest(&out, request.headers, request.body, close, true);
  return out;
}

std::string Serialize(const HttpResponse& response, bool close) {
  METE_CHECK(response.status >= 200 && response.status <= 599);
  // RFC 9110 6.4.1: these have no body, and a length would promise one to some readers.
  const bool bodiless = response.status == 204 || response.status == 304;
  METE_CHECK(!bodiless || response.body.empty());
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " ";
  out.append(ReasonPhrase(response.status)).append("\r\n");
  AddRest(&out, response.headers, response.body, close, !bodiless);
  return out;
}

}  // namespace mete::wire
